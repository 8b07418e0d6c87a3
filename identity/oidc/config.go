package oidc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity"
)

// Config says which provider is asked, and as whom.
type Config struct {
	// Name is the <idp> of user:<idp>:<sub> and of group:<idp>/<name>. It must
	// never change: every stored account carries it. Required.
	Name string
	// Issuer is the provider, exactly as it writes itself. Plain http only on
	// loopback. Required.
	Issuer string
	// ClientID is who mayflyd is to the provider. Required.
	ClientID string
	// ClientSecret goes with it; the zero value is a public client.
	ClientSecret Secret
	// RedirectURL is mayflyd's own address that this provider sends browsers back
	// to: /oidc/<Name>/callback, another one for each provider, so that no answer
	// of one can be taken for another's. Required.
	RedirectURL string

	// SubjectClaim names the account. Empty: sub. Whatever it is, the provider must
	// never give its value to somebody else.
	SubjectClaim string
	// GroupsClaim lists groups: texts, or one text without spaces and commas. It is
	// a claim, or a path into one with dots (realm_access.roles); a claim whose own
	// name is written like that comes first. Empty: groups.
	GroupsClaim string
	// GroupsStripSlash makes /support, as some providers write it, into support.
	GroupsStripSlash bool
	// NameClaim is the name as shown. Empty: name, else preferred_username.
	NameClaim string
	// EmailClaim is the e-mail, which counts only beside an email_verified that is
	// true. Empty: email.
	EmailClaim string
	// UserInfo asks the userinfo endpoint too. Claims of the ID token come first.
	UserInfo bool

	// Scopes are asked for beside openid. Nil: profile, email.
	Scopes []string
	// Refresh says whether the provider is asked for a refresh token, with the scope
	// offline_access. True: always, and with the consent that OIDC Core §11 wants.
	// False: never, and none is kept. Nil: if the provider lists that scope.
	Refresh *bool

	// AllowAddresses are asked although they are private, loopback or the like.
	AllowAddresses []netip.Prefix
	// Roots are what the provider's certificate is checked with; nil: the system's.
	Roots *x509.CertPool
	// Resolver finds the provider's addresses; nil: the system's.
	Resolver *net.Resolver
	// Now is the time that tokens are judged by; nil is time.Now.
	Now func() time.Time
}

const maxClaimName = 200

// reassigned are claims that a provider may give to another person tomorrow (OIDC
// Core §5.7), or that a person can change.
func reassigned() []string {
	return []string{"email", "name", "nickname", "given_name", "family_name", "preferred_username", "phone_number"}
}

func (c Config) complete() (Config, error) {
	if _, err := identity.User(c.Name, "x"); err != nil {
		return c, fmt.Errorf("oidc: name: %w", err)
	}
	if err := egress.CheckAddress(c.Issuer); err != nil {
		return c, fmt.Errorf("oidc: issuer: %w", err)
	}
	if err := egress.CheckAddress(c.RedirectURL); err != nil {
		return c, fmt.Errorf("oidc: redirect URL: %w", err)
	}
	if c.ClientID == "" {
		return c, errors.New("oidc: no client id")
	}
	if err := egress.CheckListed(c.AllowAddresses); err != nil {
		return c, fmt.Errorf("oidc: allowed addresses: %w", err)
	}
	if err := c.mapping(); err != nil {
		return c, err
	}
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	c.Scopes = slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == "openid" })
	for _, s := range c.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return c, fmt.Errorf("oidc: %q is not a scope (RFC 6749 §3.3)", s)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// mapping fills in and checks the claims.
func (c *Config) mapping() error {
	for _, m := range []struct {
		what  string
		claim *string
		or    string
	}{
		{"subject", &c.SubjectClaim, "sub"}, {"groups", &c.GroupsClaim, "groups"}, {"e-mail", &c.EmailClaim, "email"}, {"name", &c.NameClaim, ""},
	} {
		if *m.claim == "" {
			*m.claim = m.or
		}
		if len(*m.claim) > maxClaimName || printable(*m.claim, maxClaimName) != *m.claim {
			return fmt.Errorf("oidc: claim of the %s: want 1 to %d printable characters", m.what, maxClaimName)
		}
	}
	if slices.Contains(reassigned(), c.SubjectClaim) {
		return fmt.Errorf("oidc: claim of the subject: %s can become somebody else's; want one that stays, such as sub", c.SubjectClaim)
	}
	return nil
}
