package spiffe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// watchJWT follows the Workload API's stream of JWT bundles until ctx ends. It reads
// the messages itself: go-spiffe's reader takes the last of two keys with one kid, and
// keys of every use.
func (w *workloadWatch) watchJWT(ctx context.Context) error {
	conn, err := grpc.NewClient(w.config.Address, grpc.WithTransportCredentials(insecure.NewCredentials())) // a Unix socket
	if err != nil {
		return fmt.Errorf("workload API: %w", err)
	}
	defer func() { _ = conn.Close() }()
	client := workload.NewSpiffeWorkloadAPIClient(conn)
	for backoff := (retry{}).NewBackoff(); ; {
		err := w.followJWT(ctx, client, backoff.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The bundles that are held stay while the API cannot be reached. If it says
		// that none are due to us, none are held any more.
		if status.Code(err) == codes.PermissionDenied {
			w.source.replaceJWT(nil)
		}
		w.config.OnError(fmt.Errorf("workload API %s: JWT bundles: %w", w.config.Address, err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff.Next()):
		}
	}
}

// followJWT takes messages until the stream ends, which is always an error. Each is
// whole: what it does not hold is withdrawn (Workload API §6.2.2).
func (w *workloadWatch) followJWT(ctx context.Context, client workload.SpiffeWorkloadAPIClient, came func()) error {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true"))
	defer cancel()
	stream, err := client.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		came()
		keys, err := readJWTBundles(message.GetBundles())
		w.source.replaceJWT(keys)
		if err != nil {
			w.config.OnError(fmt.Errorf("workload API %s: %w", w.config.Address, err))
		}
	}
}

// readJWTBundles reads each trust domain's bundle on its own. A domain whose bundle
// cannot be read has none: the message replaced the one before.
func readJWTBundles(bundles map[string][]byte) (map[spiffeid.TrustDomain]JWTKeys, error) {
	out := map[spiffeid.TrustDomain]JWTKeys{}
	var errs []error
	for name, raw := range bundles {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("JWT bundle of %q: %w", name, err))
			continue
		}
		if _, twice := out[td]; twice { // "acme.example" beside "spiffe://acme.example"
			out[td] = nil
			errs = append(errs, fmt.Errorf("trust domain %s has two JWT bundles", td.Name()))
			continue
		}
		keys, err := readJWTKeys(raw, true)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", td.Name(), err))
		}
		out[td] = keys
	}
	return out, errors.Join(errs...)
}
