package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/tokens"
)

// TokenStore keeps the tokens that came by exchange of another, while they live.
type TokenStore interface {
	// Insert also forgets those that have ended. ErrExists: the id is taken.
	Insert(ctx context.Context, t OnwardToken) error
	Get(ctx context.Context, id grant.TokenID) (OnwardToken, error)
}

// tokenRevoked is the body of the leaf token.revoked.
type tokenRevoked struct {
	Token string `json:"token"`
	Grant string `json:"grant"`
	By    string `json:"by"` // pseudonym
}

// RevokeToken finishes the grant of a verified token, for the grant's holder: a
// token is nothing without its grant, and so it ends on every gateway at once, with
// every other token for that grant (RFC 7009 §2.1). To anybody else it is not_found;
// where the grant has ended already it is ended.
func (s *Service) RevokeToken(ctx context.Context, holder identity.Principal, t tokens.Claims) error {
	_, err := s.ending(ctx, Caller{Principal: holder}, t.Grant, func(w *work, _ *policy.Set, g grant.Grant) (audit.Type, error) {
		if g.Principal != holder || t.Subject != holder {
			return "", notFound(t.ID.String())
		}
		name, err := w.pseudonym(ctx, holder)
		if err != nil {
			return "", err
		}
		_, err = w.leaf(ctx, audit.TypeTokenRevoked, t.Grant.String(), tokenRevoked{t.ID.String(), t.Grant.String(), name}, t.ID.String(), t.Grant.String())
		return audit.TypeGrantFinished, err
	})
	return err
}

// TokenLive reports whether the grant of a verified token is in force and nobody in
// the token, its subject or whoever acts for it, is locked, and names the app that the token is for.
func (s *Service) TokenLive(ctx context.Context, t tokens.Claims) (live bool, app policy.App, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		if app, err = resourceApp(set, t.Audience); err != nil {
			return nil // no app any more: not live
		}
		g, err := tx.Grants().Get(ctx, t.Grant)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("grant of a token: %w", err)
		}
		if g.Principal != t.Subject || g.InForce(tx.Now()) != nil {
			return nil
		}
		held, err := anyLocked(ctx, tx, set, append([]identity.Principal{t.Subject}, t.Actor...))
		live = err == nil && !held
		return err
	})
	return live, app, err
}

func anyLocked(ctx context.Context, tx Tx, set *policy.Set, all []identity.Principal) (bool, error) {
	for _, p := range all {
		if held, err := isLocked(ctx, tx, set, p); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// TokenRefusal is a token that somebody did not get, or several.
type TokenRefusal struct {
	Principal identity.Principal // who proved itself; zero: several, or nobody
	Code      string             // of OAuth
	Route     string             // token, authorize, revoke, introspect
	Count     int
}

// tokenRefused is the body of the leaf token.refused.
type tokenRefused struct {
	Principal string `json:"principal,omitempty"` // pseudonym
	Code      string `json:"code"`
	Route     string `json:"route"`
	Count     string `json:"count"`
}

// RecordRefusals records refusals, one leaf each. What was presented is in none.
func (s *Service) RecordRefusals(ctx context.Context, all []TokenRefusal) error {
	if len(all) == 0 {
		return nil
	}
	return s.update(ctx, func(w *work) error {
		for _, r := range all {
			body := tokenRefused{Code: clip(r.Code), Route: r.Route, Count: fmt.Sprint(r.Count)}
			if !r.Principal.IsZero() {
				name, err := w.pseudonym(ctx, r.Principal)
				if err != nil {
					return err
				}
				body.Principal = name
			}
			if _, err := w.leaf(ctx, audit.TypeTokenRefused, body.Principal, body); err != nil {
				return err
			}
		}
		return nil
	})
}
