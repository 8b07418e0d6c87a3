package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// maxIDTokenAge is how old an ID token may be that is shown outside of a login.
const maxIDTokenAge = 5 * time.Minute

// IDTokenFacts is what an ID token proves by itself.
type IDTokenFacts struct {
	Principal identity.Principal
	ACR       string
	AuthTime  time.Time
	Ends      time.Time // five minutes after it was made, or its own end
	// Digest is of what was signed: one token has one, however its text is written.
	// Whoever lets a token count once remembers it until Ends.
	Digest [sha256.Size]byte
}

// Issues reports whether an ID token says that it is this provider's. It proves
// nothing; it saves asking other providers for their keys.
func (r *RP) Issues(raw string) bool {
	parts := strings.Split(raw, ".")
	if len(raw) > maxToken || len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(text, &c) != nil {
		return false
	}
	iss, err := c.text("iss")
	return err == nil && iss == r.c.Issuer
}

// IDToken verifies an ID token that was issued to our client, made within the last
// five minutes. There is no login that it belongs to: its nonce says nothing, and it
// counts as often as it is shown. Its errors wrap ErrProof or ErrUnavailable.
func (r *RP) IDToken(ctx context.Context, raw string) (IDTokenFacts, error) {
	f, err := r.discovery.get(ctx)
	if err != nil {
		return IDTokenFacts{}, err
	}
	token, c, err := r.signed(ctx, f, raw)
	if err != nil {
		return IDTokenFacts{}, err
	}
	if err := r.ofOurs(c); err != nil {
		return IDTokenFacts{}, err
	}
	facts, _, err := r.read(c, nil)
	if err != nil {
		return IDTokenFacts{}, err
	}
	now, ends := r.c.Now(), token.IssuedAt.Add(maxIDTokenAge)
	if token.Expiry.Before(ends) {
		ends = token.Expiry
	}
	if token.IssuedAt.IsZero() || token.IssuedAt.After(now.Add(maxAuthSkew)) || !now.Before(ends) {
		return IDTokenFacts{}, fmt.Errorf("%w: the ID token is not of the last %s", ErrProof, maxIDTokenAge)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		return IDTokenFacts{}, fmt.Errorf("%w: this is not a token", ErrProof)
	}
	return IDTokenFacts{Principal: facts.Principal, ACR: facts.ACR, AuthTime: facts.AuthTime, Ends: ends, Digest: sha256.Sum256(payload)}, nil
}
