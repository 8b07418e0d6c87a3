package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// WorkloadConfig configures a source that lives on the SPIFFE Workload API.
type WorkloadConfig struct {
	// Address is the API's endpoint, unix:///run/…, as in SPIFFE_ENDPOINT_SOCKET.
	// Required; only Unix sockets are taken.
	Address string
	// ID and Hint choose among several SVIDs; both must match if both are set.
	// Without them the first one is taken, as the specification says.
	ID   spiffeid.ID
	Hint string
	// JWT follows the bundles of JWT-SVIDs too, for whoever takes JWT-SVIDs.
	JWT bool
	// OnError hears every failure; nil for silence. It must not block.
	OnError func(error)
}

// NewWorkloadSource checks c. Nothing is fetched before Run.
func NewWorkloadSource(c WorkloadConfig) (*Source, error) {
	if !strings.HasPrefix(c.Address, "unix:") {
		return nil, fmt.Errorf("workload API address %q: want unix:///path", c.Address)
	}
	if err := workloadapi.ValidateAddress(c.Address); err != nil {
		return nil, fmt.Errorf("workload API address %q: %w", c.Address, err)
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	s := newSource()
	s.run = func(ctx context.Context) error { return (&workloadWatch{config: c, source: s}).run(ctx) }
	return s, nil
}

// workloadWatch follows one Workload API stream.
type workloadWatch struct {
	config WorkloadConfig
	source *Source
}

func (w *workloadWatch) run(ctx context.Context) error {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(w.config.Address), workloadapi.WithBackoffStrategy(retry{}))
	if err != nil {
		return fmt.Errorf("workload API: %w", err)
	}
	defer client.Close()
	if w.config.JWT {
		ended := make(chan struct{})
		go func() { defer close(ended); _ = w.watchJWT(ctx) }()
		defer func() { <-ended }() // run returns when ctx ends, and not before
	}
	for backoff := (retry{}).NewBackoff(); ; {
		// Returns on cancellation, but also when the server cancels or calls the
		// request invalid, and those two are tried again too.
		_ = client.WatchX509Context(ctx, w)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff.Next()):
		}
	}
}

// OnX509ContextUpdate takes a whole message: what it does not hold is withdrawn
// (Workload API §5.2.1).
func (w *workloadWatch) OnX509ContextUpdate(c *workloadapi.X509Context) {
	svid := w.pick(c.SVIDs)
	certs := map[spiffeid.TrustDomain][]*x509.Certificate{}
	for _, b := range c.Bundles.Bundles() {
		certs[b.TrustDomain()] = b.X509Authorities()
	}
	w.source.replace(svid, certs)
	if svid == nil {
		w.fail(fmt.Errorf("%w: the workload API offers none with id %q and hint %q", ErrNoSVID, w.config.ID, w.config.Hint))
	}
}

// OnX509ContextWatchError keeps what is held while the API cannot be reached. If
// the API says that nothing is due to us, or sends what cannot be read, nothing
// is held any more.
func (w *workloadWatch) OnX509ContextWatchError(err error) {
	if err == nil || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return
	}
	_, answered := status.FromError(err)
	unreadable := !answered && !errors.Is(err, io.EOF)
	if unreadable || status.Code(err) == codes.PermissionDenied {
		w.source.withdraw(err)
	}
	w.fail(err)
}

func (w *workloadWatch) fail(err error) {
	w.source.failed(err)
	w.config.OnError(fmt.Errorf("workload API %s: %w", w.config.Address, err))
}

func (w *workloadWatch) pick(svids []*x509svid.SVID) *x509svid.SVID {
	for _, s := range svids {
		if (w.config.ID.IsZero() || s.ID == w.config.ID) && (w.config.Hint == "" || s.Hint == w.config.Hint) {
			return s
		}
	}
	return nil
}

// retry waits 100 ms, doubling to 5 s. The API is a local socket.
type retry struct{}

func (retry) NewBackoff() workloadapi.Backoff { b := backoff(0); return &b }

type backoff time.Duration

const (
	firstRetry = 100 * time.Millisecond
	maxRetry   = 5 * time.Second
)

func (b *backoff) Next() time.Duration {
	*b = min(max(2**b, backoff(firstRetry)), backoff(maxRetry))
	return time.Duration(*b)
}

func (b *backoff) Reset() { *b = 0 }
