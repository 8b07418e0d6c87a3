package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// held is what Facts.Refresh holds: the refresh token, and what must be the same
// when it is used (OIDC Core §12.2).
type held struct {
	Token   string `json:"token"`
	Subject string `json:"sub"`
	Account string `json:"account"`
	Nonce   string `json:"nonce"`
	Groups  bool   `json:"groups"` // the login told groups
}

func (h held) secret() Secret {
	text, err := json.Marshal(h)
	if err != nil { // texts and a truth value always marshal
		return Secret{}
	}
	return Secret{string(text)}
}

// Refresh asks the provider again about the person that refresh was given for,
// and returns what it proves now. Its errors wrap ErrRefused if the provider no
// longer stands for the person, or now speaks of somebody else; ErrUnavailable if
// it could not say; ErrProof if what it said proves nothing. A provider that
// rotates refresh tokens takes each one once: the one in Facts takes its place,
// and is lost with an error that comes after it.
func (r *RP) Refresh(ctx context.Context, refresh Secret) (Facts, error) {
	var h held
	if err := json.Unmarshal([]byte(refresh.text), &h); err != nil || h.Token == "" || h.Subject == "" {
		return Facts{}, fmt.Errorf("%w: this is not what a login was given to be refreshed with", ErrProof)
	}
	f, err := r.discovery.get(ctx)
	if err != nil {
		return Facts{}, err
	}
	ctx = goidc.ClientContext(ctx, r.client)
	token, err := r.oauth(f).TokenSource(ctx, &oauth2.Token{RefreshToken: h.Token}).Token()
	if err != nil {
		return Facts{}, refreshError(err)
	}
	facts, err := r.refreshed(ctx, f, h, token)
	if errors.Is(err, errOtherSubject) {
		return Facts{}, fmt.Errorf("%w: %w", ErrRefused, errOtherSubject)
	}
	if err != nil {
		return Facts{}, err
	}
	if token.RefreshToken != h.Token {
		h.Token = token.RefreshToken
		facts.Refresh = h.secret()
	}
	return facts, nil
}

// refreshed reads the answer to a refresh. A provider need not send an ID token;
// then userinfo says who it is.
func (r *RP) refreshed(ctx context.Context, f *found, h held, token *oauth2.Token) (Facts, error) {
	var id, info claims
	raw, ok := token.Extra("id_token").(string)
	if ok {
		var err error
		if id, err = r.idToken(ctx, f, raw, h.Nonce, token.AccessToken, true); err != nil {
			return Facts{}, err
		}
		if sub, err := id.text("sub"); err != nil || sub != h.Subject {
			return Facts{}, fmt.Errorf("%w: ID token: %w", ErrProof, errOtherSubject)
		}
	}
	if !ok || r.c.UserInfo {
		if f.userinfo == "" {
			return Facts{}, fmt.Errorf("%w: the provider sent no ID token and has no userinfo: nothing says whose the answer is", ErrProof)
		}
		var err error
		if info, err = r.userinfo(ctx, f, token.AccessToken, h.Subject); err != nil {
			return Facts{}, err
		}
	}
	facts, groups, err := r.read(id, info)
	switch {
	case err != nil:
		return Facts{}, err
	case facts.Principal.String() != h.Account:
		return Facts{}, fmt.Errorf("%w: %w", ErrProof, errOtherSubject)
	case !ok && h.Groups && !groups: // not "no groups": they came with the ID token
		return Facts{}, fmt.Errorf("%w: the provider sent no ID token, and its userinfo does not tell groups", ErrProof)
	}
	return facts, nil
}

// refreshError tells an answer about the grant from one about us, and from none.
func refreshError(err error) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) && no.Response != nil && no.Response.StatusCode < http.StatusInternalServerError {
		ends := []string{"invalid_grant", "access_denied", "login_required", "interaction_required", "consent_required"}
		if slices.Contains(ends, no.ErrorCode) {
			return fmt.Errorf("%w: the refresh token was not accepted (%s)", ErrRefused, no.ErrorCode)
		}
	}
	return unavailable(err)
}

// unavailable is a token endpoint that did not do its work. What it wrote beside
// its status and its error code is not ours to log.
func unavailable(err error) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) && no.Response != nil {
		return fmt.Errorf("%w: its token endpoint answered %d %s", ErrUnavailable, no.Response.StatusCode, printable(no.ErrorCode, 64))
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, brief(err))
}
