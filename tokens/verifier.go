package tokens

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/mayflyproxy/mayfly/grant"
)

// defaultCache is how many verified tokens are remembered.
const defaultCache = 4096

// VerifierConfig configures a Verifier. Issuer and Keys are required.
type VerifierConfig struct {
	Issuer string         // compared byte by byte
	Keys   func() *KeySet // the keys now; nil: none. Asked on every call
	// CacheSize is how many verified tokens are remembered, 0 = 4096.
	CacheSize int
}

// Expect is what a token must be for, and who shows it.
type Expect struct {
	Audience  string       // required
	Presenter Confirmation // required: whose certificate or key was proven
	MaxLife   time.Duration
}

// Verifier is the one verifier of access tokens: gateway and control plane use it.
// It is safe for concurrent use.
type Verifier struct {
	c     VerifierConfig
	cache *lru.Cache[[sha256.Size]byte, remembered]
}

// remembered is a token that was verified with a set of keys. With another set it
// counts for nothing.
type remembered struct {
	claims *Claims
	keys   *KeySet
}

// NewVerifier checks c: an empty configuration would check nothing.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if c.Issuer == "" || c.Keys == nil || c.CacheSize < 0 {
		return nil, errors.New("verifier: a required field of VerifierConfig is missing")
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCache
	}
	cache, err := lru.New[[sha256.Size]byte, remembered](c.CacheSize)
	if err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	return &Verifier{c: c, cache: cache}, nil
}

// Verify returns what a token says if it is one of ours, in time, for this audience
// and shown by its holder; else a *grant.Denial with bad_token, wrong_audience,
// token_not_bound or ended. now is the reader's clock, which alone counts; an end
// has no leeway. The caller must not change the claims. Whether the grant lives is
// the caller's to see.
//
// The order is that of RFC 8725 and RFC 9068 §4: size, form, header, typ and alg,
// the key by kid, the signature, claims, time, audience, holder.
func (v *Verifier) Verify(token string, now time.Time, want Expect) (*Claims, error) {
	c, err := v.read(token, now, want.MaxLife)
	if err != nil {
		return nil, err
	}
	if want.Audience == "" || c.Audience != want.Audience {
		return nil, grant.Deny(grant.WrongAudience, "the token is for another resource")
	}
	if !c.Confirm.sameAs(want.Presenter) {
		return nil, grant.Deny(grant.TokenNotBound, "the token belongs to the holder of another certificate or key")
	}
	return c, nil
}

// VerifyUnbound is Verify without audience and presenter: for the token service's own
// endpoints, to which others than its holder bring a token. Whoever acts on the claims
// compares both.
func (v *Verifier) VerifyUnbound(token string, now time.Time) (*Claims, error) {
	return v.read(token, now, 0)
}

// read is what both begin with: one of ours, in time.
func (v *Verifier) read(token string, now time.Time, maxLife time.Duration) (*Claims, error) {
	c, err := v.claims(token)
	if err != nil {
		return nil, grant.Deny(grant.BadToken, "the token is none of ours, or was changed").Because(err)
	}
	if err := c.at(now, maxLife); err != nil {
		return nil, err
	}
	return c, nil
}

// at looks at the times.
func (c *Claims) at(now time.Time, maxLife time.Duration) error {
	switch {
	case !now.Before(c.Expires):
		return grant.Deny(grant.Ended, "the token has ended")
	case c.IssuedAt.After(now.Add(Skew)):
		return grant.Deny(grant.BadToken, "the token was issued in the future")
	case maxLife > 0 && c.Expires.Sub(c.IssuedAt) > maxLife:
		return grant.Deny(grant.BadToken, "the token lives longer than is taken here")
	default:
		return nil
	}
}

// claims returns what a token of ours says, whatever the time and whoever shows it.
func (v *Verifier) claims(token string) (*Claims, error) {
	if len(token) > MaxSize {
		return nil, errors.New("it is too long")
	}
	keys, sum := v.c.Keys(), sumOf(token)
	if got, ok := v.cache.Get(sum); ok && got.keys == keys {
		return got.claims, nil
	}
	c, err := verify(token, keys)
	if err != nil {
		return nil, err
	}
	if c.Issuer != v.c.Issuer {
		return nil, errors.New("iss is another")
	}
	v.cache.Add(sum, remembered{c, keys})
	return c, nil
}

// sumOf is the SHA-256 of the whole text, signature included. A token of usual length
// is hashed without a copy on the heap.
func sumOf(token string) [sha256.Size]byte {
	var usual [2 << 10]byte
	if len(token) > len(usual) {
		return sha256.Sum256([]byte(token))
	}
	return sha256.Sum256(usual[:copy(usual[:], token)])
}

// verify goes from the text to claims that their key signed.
func verify(token string, keys *KeySet) (*Claims, error) {
	t, err := splitCompact(token)
	if err != nil {
		return nil, err
	}
	if err := t.header.only("alg", "kid", "typ"); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := t.typed(tokenType); err != nil {
		return nil, err
	}
	alg, err := algOf(t.header.get("alg"))
	if err != nil {
		return nil, err
	}
	kid, err := t.header.get("kid").str()
	if err != nil {
		return nil, fmt.Errorf("kid: %w", err)
	}
	key, ok := keys.Lookup(kid)
	if !ok {
		return nil, errors.New("the key is not known")
	}
	if err := t.verify(alg, key); err != nil {
		return nil, err
	}
	return readClaims(t.payload)
}

// IsToken reports whether text has the outside of a token of ours: three segments,
// the first saying at+jwt. It proves nothing; it tells ours from an app's own.
func IsToken(text string) bool {
	head, rest, ok := strings.Cut(text, ".")
	if !ok || strings.Count(rest, ".") != 1 || len(head) > MaxSize {
		return false
	}
	raw, err := decode64(head)
	if err != nil {
		return false
	}
	n, err := parseObject(string(raw))
	if err != nil {
		return false
	}
	typ, err := n.get("typ").str()
	return err == nil && typ == tokenType
}
