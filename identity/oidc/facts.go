package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/mayflyproxy/mayfly/identity"
)

const (
	maxName   = 200 // characters of a name as shown
	maxGroups = 1000
	// maxAuthSkew is how far ahead of our clock auth_time may be.
	maxAuthSkew = time.Minute
)

// Facts are what the provider proved about a person.
type Facts struct {
	Principal identity.Principal // user:<idp>:<sub>
	Name      string             // as the provider shows the person
	Email     string             // only if the provider says that it is verified
	Groups    []identity.Group   // group:<idp>/<name>
	ACR       string
	AuthTime  time.Time // zero: not told
	SID       string    // the provider's id of its own session, "" if it told none
	Refresh   Secret    // the refresh token, zero if it issued none
}

// claims are those of an ID token that are looked at.
type claims struct {
	AZP               string          `json:"azp"`
	Name              string          `json:"name"`
	PreferredUsername string          `json:"preferred_username"`
	Email             string          `json:"email"`
	EmailVerified     json.RawMessage `json:"email_verified"`
	ACR               string          `json:"acr"`
	AuthTime          int64           `json:"auth_time"`
}

// facts verifies an ID token (OIDC Core §3.1.3.7) and reads it.
func (r *RP) facts(ctx context.Context, f *found, s stored, raw, access string) (Facts, error) {
	verifier := f.provider.VerifierContext(ctx, &goidc.Config{
		ClientID: r.c.ClientID, SupportedSigningAlgs: []string{goidc.ES256, goidc.RS256}, Now: r.c.Now,
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return Facts{}, verifyError(err)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return Facts{}, fmt.Errorf("%w: ID token: %w", ErrProof, err)
	}
	switch {
	case len(token.Audience) != 1 || token.Audience[0] != r.c.ClientID:
		return Facts{}, fmt.Errorf("%w: the ID token is for others too", ErrProof)
	case c.AZP != "" && c.AZP != r.c.ClientID:
		return Facts{}, fmt.Errorf("%w: the ID token was made for another client", ErrProof)
	case !same(token.Nonce, s.Nonce):
		return Facts{}, fmt.Errorf("%w: the nonce is another one", ErrProof)
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil:
		return Facts{}, fmt.Errorf("%w: the access token is another one's", ErrProof)
	}
	return r.read(token, c)
}

// verifyError tells a key set that cannot be fetched from a token that is bad.
func verifyError(err error) error {
	var network *url.Error
	if errors.As(err, &network) || strings.Contains(err.Error(), "fetching keys") {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: ID token: %w", ErrProof, err)
}

func (r *RP) read(token *goidc.IDToken, c claims) (Facts, error) {
	principal, err := identity.User(r.c.Name, token.Subject)
	if err != nil {
		return Facts{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	groups, err := r.groups(token)
	if err != nil {
		return Facts{}, err
	}
	out := Facts{Principal: principal, Name: printable(c.Name, maxName), Groups: groups, ACR: printable(c.ACR, maxName)}
	if out.Name == "" {
		out.Name = printable(c.PreferredUsername, maxName)
	}
	if string(c.EmailVerified) == "true" { // the boolean: a text is not one
		out.Email = strings.ToLower(printable(c.Email, maxName))
	}
	if c.AuthTime != 0 {
		out.AuthTime = time.Unix(c.AuthTime, 0).UTC()
	}
	if out.AuthTime.After(r.c.Now().Add(maxAuthSkew)) {
		return Facts{}, fmt.Errorf("%w: auth_time is in the future", ErrProof)
	}
	return out, nil
}

// groups reads the groups claim: a list of names. A name that cannot be a group
// of ours is left out; it could be in no policy either.
func (r *RP) groups(token *goidc.IDToken) ([]identity.Group, error) {
	var all map[string]json.RawMessage
	if err := token.Claims(&all); err != nil {
		return nil, fmt.Errorf("%w: ID token: %w", ErrProof, err)
	}
	raw, ok := all[r.c.GroupsClaim]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return nil, fmt.Errorf("%w: claim %s is not a list of texts", ErrProof, r.c.GroupsClaim)
	}
	if len(names) > maxGroups {
		return nil, fmt.Errorf("%w: more than %d groups", ErrProof, maxGroups)
	}
	var out []identity.Group
	for _, name := range names {
		if g, err := identity.ParseGroup("group:" + r.c.Name + "/" + name); err == nil {
			out = append(out, g)
		}
	}
	return out, nil
}

// printable cuts s to limit characters and drops those that do not print.
func printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			continue
		}
		if n++; n > limit {
			break
		}
		b.WriteRune(c)
	}
	return strings.TrimSpace(b.String())
}
