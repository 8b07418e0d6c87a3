package dev

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// FetchJWTSVID gives the caller a JWT-SVID for each of its entries, or for the one
// whose ID it names.
func (d *workloadDoor) FetchJWTSVID(ctx context.Context, r *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	mine, err := d.callers(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.GetAudience()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	out := &workload.JWTSVIDResponse{}
	for _, e := range mine {
		if r.GetSpiffeId() != "" && r.GetSpiffeId() != e.ID.String() {
			continue
		}
		token, err := d.api.ca.JWTSVID(e.ID, r.GetAudience())
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		out.Svids = append(out.Svids, &workload.JWTSVID{SpiffeId: e.ID.String(), Svid: token, Hint: e.Hint})
	}
	if len(out.Svids) == 0 {
		return nil, status.Error(codes.PermissionDenied, "no identity issued: none of the caller's has this ID")
	}
	return out, nil
}

// FetchJWTBundles sends the keys of JWT-SVIDs of every trust domain that has some, and
// again when they changed.
func (d *workloadDoor) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return d.follow(stream.Context(), func([]Entry, map[string][]byte) (time.Duration, error) {
		out := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		for td, keys := range d.api.jwtKeys() {
			if len(keys) == 0 {
				continue // absence is what withdraws it
			}
			raw, err := jwks(keys)
			if err != nil {
				return 0, status.Error(codes.Internal, err.Error())
			}
			out.Bundles[td.IDString()] = raw
		}
		return defaultTTL, stream.Send(out)
	})
}

// ValidateJWTSVID says whom a JWT-SVID proves to an audience.
func (d *workloadDoor) ValidateJWTSVID(ctx context.Context, r *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if _, err := d.callers(ctx); err != nil {
		return nil, err
	}
	keys := d.api.jwtKeys()
	var domains []spiffeid.TrustDomain
	for td := range keys {
		domains = append(domains, td)
	}
	peer, err := spiffe.VerifyJWT(r.GetSvid(), (*spiffe.Bundles)(nil).WithJWT(keys), r.GetAudience(), d.api.ca.now(), domains...)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	claims, err := structpb.NewStruct(map[string]any{
		"sub": peer.ID.String(), "aud": []any{r.GetAudience()}, "exp": float64(peer.Expires.Unix()),
	})
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: peer.ID.String(), Claims: claims}, nil
}

// callers returns the entries of whoever calls, and an error if there are none.
func (d *workloadDoor) callers(ctx context.Context) ([]Entry, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	if mine := entriesOf(ctx, d.api.now(d.socket)); len(mine) > 0 {
		return mine, nil
	}
	return nil, errNoEntry
}

// jwtKeys returns the keys of JWT-SVIDs, by trust domain.
func (w *WorkloadAPI) jwtKeys() map[spiffeid.TrustDomain]spiffe.JWTKeys {
	out := map[spiffeid.TrustDomain]spiffe.JWTKeys{}
	for _, ca := range append([]*CA{w.ca}, w.others...) {
		out[ca.domain] = ca.JWTKeys()
	}
	return out
}
