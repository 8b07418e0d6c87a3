package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// jwtSVID says who a JWT-SVID proves to audience, by the bundles of now, so that a key
// that was taken out proves nobody from then on. The same trust domains count as for
// certificates. Keys come after the start too, and those of a development CA are
// refused then as well.
func (d *daemon) jwtSVID(_ context.Context, token, audience string, now time.Time) (oauth.Workload, error) {
	bundles, unread := d.c.OAuth.withFiles(d.source.Bundles())
	peer, err := spiffe.VerifyJWT(token, bundles, audience, now, d.domains...)
	if err != nil {
		return oauth.Workload{}, errors.Join(err, unread)
	}
	if td := peer.ID.TrustDomain(); !d.dev && bundles.Development(td) {
		return oauth.Workload{}, fmt.Errorf("trust domain %s is a development CA's, whose SVIDs prove nothing", td)
	}
	return oauth.Workload{Principal: peer.Principal, Ends: peer.Expires}, nil
}

// withFiles puts the keys of the files in place of those of their trust domains. The
// files are read each time: whoever rotates keys replaces them, and nothing is
// restarted. One that cannot be read leaves its trust domain without keys, and is told
// of in the error.
func (c oauthConfig) withFiles(b *spiffe.Bundles) (*spiffe.Bundles, error) {
	if len(c.JWTBundles) == 0 {
		return b, nil
	}
	var errs []error
	keys := map[spiffeid.TrustDomain]spiffe.JWTKeys{}
	maps.Copy(keys, b.JWT())
	for name, at := range c.JWTBundles {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		raw, err := os.ReadFile(at.File)
		keys[td] = nil
		if err == nil {
			keys[td], err = spiffe.ParseJWTKeys(raw)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("JWT bundle of %s: %w", name, err))
		}
	}
	return b.WithJWT(keys), errors.Join(errs...)
}
