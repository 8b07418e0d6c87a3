package dev

import (
	"bytes"
	"context"
	"crypto/x509"
	"maps"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// workloadDoor answers on one socket.
type workloadDoor struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	api    *WorkloadAPI
	socket string
}

// FetchX509SVID sends all SVIDs of the caller, and again whenever one is at half
// of its life or anything changed. Each message replaces the one before.
func (d *workloadDoor) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return d.follow(stream.Context(), func(entries []Entry, bundles map[string][]byte) (time.Duration, error) {
		own := d.api.ca.domain.IDString()
		out := &workload.X509SVIDResponse{FederatedBundles: maps.Clone(bundles)}
		delete(out.FederatedBundles, own)
		life := defaultTTL
		for _, e := range entries {
			svid, err := d.api.ca.SVID(e.ID, e.TTL, e.DNS...)
			if err != nil {
				return 0, status.Error(codes.Internal, err.Error())
			}
			chain, key, err := svid.MarshalRaw()
			if err != nil {
				return 0, status.Error(codes.Internal, err.Error())
			}
			if e.TTL != 0 {
				life = min(life, e.TTL)
			}
			out.Svids = append(out.Svids, &workload.X509SVID{
				SpiffeId: e.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: bundles[own], Hint: e.Hint,
			})
		}
		return life / 2, stream.Send(out)
	})
}

// FetchX509Bundles sends the trust bundle, and again when it changed.
func (d *workloadDoor) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return d.follow(stream.Context(), func(_ []Entry, bundles map[string][]byte) (time.Duration, error) {
		return defaultTTL, stream.Send(&workload.X509BundlesResponse{Bundles: bundles})
	})
}

// follow calls send with the caller's entries now and after every change, and
// again after the time that it returns.
func (d *workloadDoor) follow(ctx context.Context, send func([]Entry, map[string][]byte) (time.Duration, error)) error {
	if err := checkHeader(ctx); err != nil {
		return err
	}
	for {
		all, entriesChanged := d.api.watch(d.socket)
		mine := entriesOf(ctx, all)
		if len(mine) == 0 {
			return errNoEntry
		}
		bundles, bundlesChanged, stop := d.api.bundles()
		wait, err := send(mine, bundles)
		if err != nil {
			stop()
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-entriesChanged:
		case <-bundlesChanged:
		case <-ctx.Done():
			timer.Stop()
			stop()
			return status.FromContextError(ctx.Err()).Err()
		}
		timer.Stop()
		stop()
	}
}

// errNoEntry is the answer to a caller that has no identity.
var errNoEntry = status.Error(codes.PermissionDenied, "no identity issued: no entry for this caller on this socket")

// checkHeader wants workload.spiffe.io: true (SPIFFE Workload Endpoint §6), which
// a browser that was tricked into calling cannot send.
func checkHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request: want workload.spiffe.io: true")
	}
	return nil
}

func entriesOf(ctx context.Context, all []Entry) []Entry {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return nil
	}
	caller, ok := p.AuthInfo.(callerInfo)
	if !ok {
		return nil
	}
	var out []Entry
	for _, e := range all {
		if e.UID == nil || *e.UID == caller.uid {
			out = append(out, e)
		}
	}
	return out
}

func concat(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(c.Raw)
	}
	return out.Bytes()
}
