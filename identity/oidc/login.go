package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ErrUnavailable is wrapped by errors that may pass by themselves: the provider
// cannot be reached, or does not answer as one.
var ErrUnavailable = errors.New("the identity provider is not available")

// ErrRefused is wrapped when the provider, or the person there, said no.
var ErrRefused = errors.New("the identity provider refused the login")

// ErrProof is wrapped when what came back does not prove this login.
var ErrProof = errors.New("the login is not proven")

// RP is mayflyd as a relying party of one provider. It is safe for concurrent use.
type RP struct {
	c         Config
	discovery discovery
}

// New checks c. The provider is asked when the first login needs it.
func New(c Config) (*RP, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	return &RP{c: c, discovery: discovery{issuer: c.Issuer, client: newClient(c.Transport), now: c.Now}}, nil
}

// Name returns the <idp> of the accounts that this provider proves.
func (r *RP) Name() string { return r.c.Name }

// stored is what a login under way needs at its end. It is secret.
type stored struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// Begin starts a login: the address that the browser is sent to, and what Finish
// needs later, which no browser may see. state is the caller's own random value,
// by which it finds what it stored.
func (r *RP) Begin(_ context.Context, state string) (authURL string, keep []byte, err error) {
	if state == "" {
		return "", nil, errors.New("oidc: no state")
	}
	f, err := r.discovery.get()
	if err != nil {
		return "", nil, err
	}
	s := stored{State: state, Nonce: random(), Verifier: oauth2.GenerateVerifier()}
	keep, err = json.Marshal(s)
	if err != nil {
		return "", nil, err
	}
	return r.oauth(f).AuthCodeURL(state, goidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)), keep, nil
}

// Finish takes the query that the provider sent the browser back with, and what
// Begin returned, and says who logged in. Its errors wrap ErrUnavailable,
// ErrRefused or ErrProof.
func (r *RP) Finish(ctx context.Context, keep []byte, query url.Values) (Facts, error) {
	var s stored
	if err := json.Unmarshal(keep, &s); err != nil || s.Nonce == "" || s.Verifier == "" {
		return Facts{}, fmt.Errorf("%w: nothing is known of it", ErrProof)
	}
	f, err := r.discovery.get()
	if err != nil {
		return Facts{}, err
	}
	code, err := r.code(f, s, query)
	if err != nil {
		return Facts{}, err
	}
	ctx = goidc.ClientContext(ctx, r.discovery.client)
	token, err := r.oauth(f).Exchange(ctx, code, oauth2.VerifierOption(s.Verifier))
	if err != nil {
		return Facts{}, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Facts{}, fmt.Errorf("%w: the provider sent no ID token", ErrProof)
	}
	return r.facts(ctx, f, s, raw, token.AccessToken)
}

// code checks the answer of the authorization endpoint (RFC 6749 §4.1.2, RFC 9207).
func (r *RP) code(f *found, s stored, query url.Values) (string, error) {
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(query[name]) > 1 {
			return "", fmt.Errorf("%w: %s is there twice", ErrProof, name)
		}
	}
	if !same(query.Get("state"), s.State) {
		return "", fmt.Errorf("%w: the state is another one", ErrProof)
	}
	if iss := query.Get("iss"); iss != r.c.Issuer && (iss != "" || f.sendsISS || query.Has("iss")) {
		return "", fmt.Errorf("%w: the answer is from another issuer", ErrProof)
	}
	if e := query.Get("error"); e != "" {
		return "", fmt.Errorf("%w: %s", ErrRefused, printable(e, 64))
	}
	code := query.Get("code")
	if code == "" || len(code) > 4096 {
		return "", fmt.Errorf("%w: there is no code", ErrProof)
	}
	return code, nil
}

// exchangeError tells an answer of the token endpoint from no answer.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	switch {
	case !errors.As(err, &refused) || refused.Response == nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case refused.Response.StatusCode < http.StatusInternalServerError:
		return fmt.Errorf("%w: the code was not accepted (%s)", ErrProof, printable(refused.ErrorCode, 64))
	default: // what it wrote beside its status is not ours to log
		return fmt.Errorf("%w: its token endpoint answered %s", ErrUnavailable, refused.Response.Status)
	}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
