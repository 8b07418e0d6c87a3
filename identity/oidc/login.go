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

	"github.com/mayflyproxy/mayfly/egress"
)

// ErrUnavailable is wrapped by errors that may pass by themselves: the provider
// cannot be reached, or does not answer as one.
var ErrUnavailable = errors.New("the identity provider is not available")

// ErrRefused is wrapped when the provider, or the person there, said no.
var ErrRefused = errors.New("the identity provider refused")

// ErrProof is wrapped when what came back does not prove this login.
var ErrProof = errors.New("the login is not proven")

// RP is mayflyd as a relying party of one provider. It is safe for concurrent use.
type RP struct {
	c         Config
	client    *http.Client
	discovery *discovery
	seen      seen
}

// New checks c. The provider is asked when the first login needs it.
func New(c Config) (*RP, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	client := egress.Way{Allow: c.AllowAddresses, Roots: c.Roots, Resolver: c.Resolver}.Client(egress.AnswerTime)
	return &RP{c: c, client: client, discovery: newDiscovery(c, client)}, nil
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
func (r *RP) Begin(ctx context.Context, state string) (authURL string, keep []byte, err error) {
	if state == "" {
		return "", nil, errors.New("oidc: no state")
	}
	f, err := r.discovery.get(ctx)
	if err != nil {
		return "", nil, err
	}
	s := stored{State: state, Nonce: random(), Verifier: oauth2.GenerateVerifier()}
	keep, err = json.Marshal(s)
	if err != nil {
		return "", nil, err
	}
	options := []oauth2.AuthCodeOption{goidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)}
	if r.c.Refresh != nil && *r.c.Refresh { // OIDC Core §11
		options = append(options, oauth2.SetAuthURLParam("prompt", "consent"))
	}
	return r.oauth(f).AuthCodeURL(state, options...), keep, nil
}

// Finish takes the query that the provider sent the browser back with, and what
// Begin returned, and says who logged in. Its errors wrap ErrUnavailable,
// ErrRefused or ErrProof.
func (r *RP) Finish(ctx context.Context, keep []byte, query url.Values) (Facts, error) {
	var s stored
	if err := json.Unmarshal(keep, &s); err != nil || s.Nonce == "" || s.Verifier == "" {
		return Facts{}, fmt.Errorf("%w: nothing is known of it", ErrProof)
	}
	f, err := r.discovery.get(ctx)
	if err != nil {
		return Facts{}, err
	}
	code, err := r.code(f, s, query)
	if err != nil {
		return Facts{}, err
	}
	ctx = goidc.ClientContext(ctx, r.client)
	token, err := r.oauth(f).Exchange(ctx, code, oauth2.VerifierOption(s.Verifier))
	if err != nil {
		return Facts{}, exchangeError(err)
	}
	return r.loggedIn(ctx, f, s, token)
}

// loggedIn reads the answer to a code.
func (r *RP) loggedIn(ctx context.Context, f *found, s stored, token *oauth2.Token) (Facts, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Facts{}, fmt.Errorf("%w: the provider sent no ID token", ErrProof)
	}
	id, err := r.idToken(ctx, f, raw, s.Nonce, token.AccessToken, false)
	if err != nil {
		return Facts{}, err
	}
	sub, err := id.text("sub")
	if err != nil || sub == "" {
		return Facts{}, fmt.Errorf("%w: the ID token has no subject", ErrProof)
	}
	var info claims
	if r.c.UserInfo {
		if info, err = r.userinfo(ctx, f, token.AccessToken, sub); err != nil {
			return Facts{}, err
		}
	}
	facts, groups, err := r.read(id, info)
	if err != nil {
		return Facts{}, err
	}
	if token.RefreshToken != "" && (r.c.Refresh == nil || *r.c.Refresh) {
		facts.Refresh = held{Token: token.RefreshToken, Subject: sub, Account: facts.Principal.String(), Nonce: s.Nonce, Groups: groups}.secret()
	}
	return facts, nil
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
	switch e := query.Get("error"); e {
	case "":
	case "server_error", "temporarily_unavailable": // RFC 6749 §4.1.2.1
		return "", fmt.Errorf("%w: it answered %s", ErrUnavailable, e)
	default:
		return "", fmt.Errorf("%w: %s", ErrRefused, printable(e, 64))
	}
	code := query.Get("code")
	if code == "" || len(code) > 4096 {
		return "", fmt.Errorf("%w: there is no code", ErrProof)
	}
	return code, nil
}

// exchangeError tells a code that was not accepted from no answer.
func exchangeError(err error) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) && no.Response != nil {
		switch no.Response.StatusCode {
		case http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%w: the code was not accepted (%s)", ErrProof, printable(no.ErrorCode, 64))
		}
	}
	return unavailable(err)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
