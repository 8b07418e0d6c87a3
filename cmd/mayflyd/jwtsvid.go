package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// jwtSVID says who a JWT-SVID proves to audience, by the bundles of now, so that a key
// that was taken out proves nobody from then on. The same trust domains count as for
// certificates. Keys come after the start too, and those of a development CA are
// refused then as well.
func (d *daemon) jwtSVID(_ context.Context, token, audience string, now time.Time) (oauth.Workload, error) {
	bundles := d.source.Bundles()
	peer, err := spiffe.VerifyJWT(token, bundles, audience, now, d.domains...)
	if err != nil {
		return oauth.Workload{}, err
	}
	if td := peer.ID.TrustDomain(); !d.dev && bundles.Development(td) {
		return oauth.Workload{}, fmt.Errorf("trust domain %s is a development CA's, whose SVIDs prove nothing", td)
	}
	return oauth.Workload{Principal: peer.Principal, Ends: peer.Expires}, nil
}
