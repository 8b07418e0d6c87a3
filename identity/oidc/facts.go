package oidc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// maxAuthSkew is how far ahead of our clock auth_time may be.
const maxAuthSkew = time.Minute

// Facts are what the provider proved about a person. ACR, AuthTime and SID are of
// the login: after Refresh they are zero if the provider did not tell them again.
type Facts struct {
	Principal identity.Principal // user:<idp>:<sub>
	Name      string             // as the provider shows the person
	Email     string             // only if the provider says that it is verified
	Groups    []identity.Group   // group:<idp>/<name>, all there are
	ACR       string
	AuthTime  time.Time // zero: not told
	SID       string    // the provider's id of its own session, "" if not told
	// Refresh is what RP.Refresh takes: the refresh token and whose it is. Zero
	// after a login: the provider issued none. Zero after Refresh: the old one stays.
	Refresh Secret
}

// idToken verifies an ID token. nonce is the one that was sent; a refreshed token
// need not repeat it (OIDC Core §12.2).
func (r *RP) idToken(ctx context.Context, f *found, raw, nonce, access string, refreshed bool) (claims, error) {
	token, c, err := r.signed(ctx, f, raw)
	if err != nil {
		return nil, err
	}
	if err := r.ofOurs(c); err != nil {
		return nil, err
	}
	switch {
	case !same(token.Nonce, nonce) && (!refreshed || token.Nonce != ""):
		return nil, fmt.Errorf("%w: the nonce is another one", ErrProof)
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil:
		return nil, fmt.Errorf("%w: the access token is another one's", ErrProof)
	}
	return c, nil
}

// ofOurs refuses a verified token that is no ID token, or not one for our client.
func (r *RP) ofOurs(c claims) error {
	azp, err := c.text("azp")
	if err != nil {
		return fmt.Errorf("%w: ID token: %w", ErrProof, err)
	}
	_, event := c["events"]
	switch {
	case event: // a logout token or another security event (RFC 8417)
		return fmt.Errorf("%w: this is not an ID token", ErrProof)
	case azp != "" && azp != r.c.ClientID:
		return fmt.Errorf("%w: the ID token was made for another client", ErrProof)
	}
	return nil
}

// read makes facts of an ID token and what userinfo said, either of which may be
// missing. It also returns whether groups were told.
func (r *RP) read(id, info claims) (f Facts, groups bool, err error) {
	defer func() {
		if err != nil {
			f, err = Facts{}, fmt.Errorf("%w: %w", ErrProof, err)
		}
	}()
	all := told{id, info}
	subject, err := all.text(r.c.SubjectClaim)
	if err != nil {
		return f, false, err
	}
	if f.Principal, err = identity.User(r.c.Name, subject); err != nil {
		return f, false, fmt.Errorf("claim %s: %w", r.c.SubjectClaim, err)
	}
	if f.Groups, groups, err = all.groups(r.c); err != nil {
		return f, false, err
	}
	if f.Email, err = all.email(r.c.EmailClaim); err != nil {
		return f, false, err
	}
	if f.Name, err = r.name(all); err != nil {
		return f, false, err
	}
	return f, groups, r.readLogin(&f, id)
}

func (r *RP) name(all told) (string, error) {
	names := []string{"name", "preferred_username"}
	if r.c.NameClaim != "" {
		names = []string{r.c.NameClaim}
	}
	for _, n := range names {
		s, err := all.text(n)
		if s = printable(s, maxName); err != nil || s != "" {
			return s, err
		}
	}
	return "", nil
}

// readLogin reads what only an ID token can say: how, when and in which session
// of the provider's the person logged in.
func (r *RP) readLogin(f *Facts, id claims) error {
	acr, err := id.text("acr")
	if err != nil {
		return err
	}
	f.ACR = printable(acr, maxName)
	if f.AuthTime, err = id.seconds("auth_time"); err != nil {
		return err
	}
	if f.AuthTime.After(r.c.Now().Add(maxAuthSkew)) {
		return errors.New("auth_time is in the future")
	}
	f.SID, err = sessionID(id)
	return err
}

// sessionID reads sid, an opaque text, "" if it is not there.
func sessionID(c claims) (string, error) {
	s, err := c.text("sid")
	if err == nil && (len(s) > maxSID || printable(s, maxSID) != s) {
		err = errors.New("claim sid is too long, or does not print")
	}
	return s, err
}
