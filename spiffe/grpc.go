package spiffe

import (
	"context"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerFromContext returns the peer of a gRPC call at now. Servers ask on every
// call, and long streams again while they last: see PeerFromState.
func (v *Verifier) PeerFromContext(ctx context.Context, now time.Time) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, refuse(ReasonNone, "", "no peer in this call")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Peer{}, refuse(ReasonNone, "", "the call did not come over TLS")
	}
	return v.PeerFromState(info.State, now)
}
