package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 128 << 10

// signed verifies what ID tokens and logout tokens have in common (OIDC Core
// §3.1.3.7): the kind, the signature, who made it, and that it is for us alone.
// The kind is one of types, or not told. An ID token's end is checked as well.
func (r *RP) signed(ctx context.Context, f *found, raw string, types ...string) (*goidc.IDToken, claims, error) {
	if err := checkType(raw, types); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	ask := &keyAsk{set: f.keys.current()}
	token, err := goidc.NewVerifier(r.c.Issuer, ask, &goidc.Config{
		ClientID: r.c.ClientID, SupportedSigningAlgs: []string{goidc.ES256, goidc.RS256}, Now: r.c.Now,
		SkipExpiryCheck: slices.Contains(types, logoutType),
	}).Verify(ctx, raw)
	switch {
	case ask.unavailable != nil:
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, ask.unavailable)
	case err != nil:
		return nil, nil, fmt.Errorf("%w: token: %w", ErrProof, brief(err))
	case len(token.Audience) != 1 || token.Audience[0] != r.c.ClientID:
		return nil, nil, fmt.Errorf("%w: the token is for others too", ErrProof)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, nil, fmt.Errorf("%w: token: %w", ErrProof, err)
	}
	return token, c, nil
}

// checkType refuses tokens of another kind by their header (RFC 8725 §3.11).
func checkType(raw string, types []string) error {
	if len(raw) > maxToken {
		return errors.New("the token is too long")
	}
	head, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return errors.New("this is not a token")
	}
	var header claims
	if err := json.Unmarshal(text, &header); err != nil {
		return errors.New("this is not a token")
	}
	typ, err := header.text("typ")
	if err != nil {
		return err
	}
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/") // RFC 7515 §4.1.9
	if typ != "" && typ != "jwt" && !slices.Contains(types, typ) {
		return fmt.Errorf("this is a token of another kind (%s)", printable(typ, 64))
	}
	return nil
}
