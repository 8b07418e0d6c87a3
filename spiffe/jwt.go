package spiffe

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/tokens"
)

// JWTPeer is a workload that proved itself with a JWT-SVID.
type JWTPeer struct {
	Principal identity.Principal
	ID        spiffeid.ID
	Expires   time.Time // exclusive
}

// VerifyJWT returns the workload that a JWT-SVID proves to audience at now. It must
// be verified by the bundle of the ID's own trust domain, which must be one of domains.
//
// It holds what go-spiffe leaves open: an audience is always wanted, and exactly one;
// the header has no members but alg, kid and typ; the ID has a path; and the end has no
// leeway, of which go-spiffe gives a minute. go-spiffe also compares with the system's
// own clock. The errors are for logs and hold no token text.
func VerifyJWT(token string, bundles jwtbundle.Source, audience string, now time.Time, domains ...spiffeid.TrustDomain) (JWTPeer, error) {
	if audience == "" || bundles == nil {
		return JWTPeer{}, errors.New("JWT-SVID: no audience or no bundles to verify it with")
	}
	if err := tokens.CheckForm(token, []string{"alg", "kid", "typ"}, "sub", "aud", "exp", "iat", "nbf"); err != nil {
		return JWTPeer{}, fmt.Errorf("JWT-SVID: %w", err)
	}
	svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
	if err != nil {
		return JWTPeer{}, fmt.Errorf("JWT-SVID: %w", err)
	}
	principal, err := identity.Workload(svid.ID)
	switch {
	case err != nil:
		return JWTPeer{}, fmt.Errorf("JWT-SVID: %w", err)
	case !slices.Contains(domains, svid.ID.TrustDomain()):
		return JWTPeer{}, fmt.Errorf("JWT-SVID: trust domain %s is not accepted here", svid.ID.TrustDomain())
	case len(svid.Audience) != 1:
		return JWTPeer{}, errors.New("JWT-SVID: it is for others too")
	case !now.Before(svid.Expiry):
		return JWTPeer{}, errors.New("JWT-SVID: it has expired")
	}
	return JWTPeer{Principal: principal, ID: svid.ID, Expires: svid.Expiry}, nil
}
