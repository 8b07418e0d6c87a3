package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

const (
	maxSocketPath = 107 // sun_path, less its NUL
	minTTL        = 2 * time.Second
)

// Entry says which workload gets which SVID. Whoever connects to Socket and, if
// UID is set, runs as that user, is the workload.
type Entry struct {
	Socket string // path of a Unix socket; required
	UID    *uint32
	ID     spiffeid.ID
	Hint   string
	TTL    time.Duration // 0 means one hour; at least 2 s
	DNS    []string
}

// WorkloadAPIConfig configures a WorkloadAPI.
type WorkloadAPIConfig struct {
	CA        *CA     // required
	Federated []*CA   // of other trust domains: their bundles go to everybody
	Entries   []Entry // required; several for one caller give it several SVIDs, in this order
}

// WorkloadAPI serves the SPIFFE Workload API over Unix sockets. It
// mints per stream, pushes a whole new message at half of the shortest life, and
// when the bundle or the entries change.
type WorkloadAPI struct {
	ca      *CA
	others  []*CA
	sockets []string
	held    map[string]net.Listener

	mu      sync.Mutex // guards the fields below
	entries []Entry
	changed chan struct{} // closed and replaced when the entries change
}

// NewWorkloadAPI checks c.
func NewWorkloadAPI(c WorkloadAPIConfig) (*WorkloadAPI, error) {
	if c.CA == nil {
		return nil, errors.New("workload API: CA is required")
	}
	w := &WorkloadAPI{ca: c.CA, others: c.Federated, held: map[string]net.Listener{}, changed: make(chan struct{})}
	for _, e := range c.Entries {
		if !slices.Contains(w.sockets, e.Socket) {
			w.sockets = append(w.sockets, e.Socket)
		}
	}
	if len(w.sockets) == 0 {
		return nil, errors.New("workload API: no entries")
	}
	return w, w.SetEntries(c.Entries...)
}

// SetEntries replaces all entries, on the sockets that the first ones named, and
// pushes the difference. A workload left out gets PermissionDenied.
func (w *WorkloadAPI) SetEntries(entries ...Entry) error {
	for i, e := range entries {
		if err := w.check(e); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = slices.Clone(entries)
	w.push()
	return nil
}

// bundles returns the bundle of every trust domain that has one, and a channel that
// closes when one changes. Call stop when done.
func (w *WorkloadAPI) bundles() (out map[string][]byte, changed <-chan struct{}, stop func()) {
	out = map[string][]byte{}
	any, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var waits sync.WaitGroup
	for _, ca := range append([]*CA{w.ca}, w.others...) {
		roots, one := ca.bundleChanged()
		if len(roots) > 0 { // an empty bundle is left out: absence is what withdraws it
			out[ca.domain.IDString()] = concat(roots)
		}
		waits.Go(func() {
			select {
			case <-one:
				once.Do(func() { close(any) })
			case <-done:
			}
		})
	}
	return out, any, func() { close(done); waits.Wait() }
}

// Rotate mints everybody's SVIDs anew, now.
func (w *WorkloadAPI) Rotate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.push()
}

// push needs mu.
func (w *WorkloadAPI) push() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *WorkloadAPI) check(e Entry) error {
	switch {
	case !filepath.IsAbs(e.Socket) || len(e.Socket) > maxSocketPath:
		return fmt.Errorf("socket %q: want an absolute path of at most %d bytes", e.Socket, maxSocketPath)
	case !slices.Contains(w.sockets, e.Socket):
		return fmt.Errorf("socket %q is not served", e.Socket)
	case e.ID.TrustDomain() != w.ca.domain || e.ID.Path() == "":
		return fmt.Errorf("SPIFFE ID %q: want one of trust domain %s, with a path", e.ID, w.ca.domain)
	case e.TTL != 0 && e.TTL < minTTL:
		return fmt.Errorf("ttl %s: want at least %s", e.TTL, minTTL)
	}
	return nil
}

// Listen opens the sockets; a stale socket file is replaced. A socket whose
// entries name users is open to all of them; others only to our own user.
func (w *WorkloadAPI) Listen() error {
	for _, path := range w.sockets {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			w.Close()
			return fmt.Errorf("workload API: %w", err)
		}
		w.held[path] = l
		if err := os.Chmod(path, w.mode(path)); err != nil {
			w.Close()
			return err
		}
	}
	return nil
}

func (w *WorkloadAPI) mode(path string) os.FileMode {
	for _, e := range w.now(path) {
		if e.UID != nil {
			return 0o666
		}
	}
	return 0o600
}

// Close closes sockets that Serve does not hold.
func (w *WorkloadAPI) Close() {
	for _, l := range w.held {
		l.Close()
	}
}

// Address returns what a workload puts into SPIFFE_ENDPOINT_SOCKET for socket.
func Address(socket string) string { return "unix://" + socket }

// Serve answers on the sockets that Listen opened until ctx ends. Streams are cut
// then.
func (w *WorkloadAPI) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for path, listener := range w.held {
		server := grpc.NewServer(grpc.Creds(peerCredentials{}))
		workload.RegisterSpiffeWorkloadAPIServer(server, &workloadDoor{api: w, socket: path})
		group.Go(func() error { return server.Serve(listener) })
		group.Go(func() error { <-ctx.Done(); server.Stop(); return nil })
	}
	return group.Wait()
}

// now returns the entries of one socket.
func (w *WorkloadAPI) now(socket string) []Entry {
	entries, _ := w.watch(socket)
	return entries
}

// watch returns the entries of one socket and a channel that closes on a change.
func (w *WorkloadAPI) watch(socket string) ([]Entry, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Entry
	for _, e := range w.entries {
		if e.Socket == socket {
			out = append(out, e)
		}
	}
	return out, w.changed
}
