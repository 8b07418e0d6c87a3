package oauth

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

const (
	verbatim   = 10          // refusals a second of one caller and code that are told one by one
	flushEvery = time.Second // the others are counted
	maxKinds   = 1000        // callers and codes that are told apart within one flush
)

// refusals gathers refusals until they are on record, so that refusing is never
// slower than granting and fills no disk: of callers who proved themselves the first
// ten a second each one by one, all others counted (contracts §5).
type refusals struct {
	now func() time.Time

	mu      sync.Mutex
	told    []access.TokenRefusal
	counted map[access.TokenRefusal]int // Count is 0 in the key
	seen    map[access.TokenRefusal]int
}

func newRefusals(now func() time.Time) *refusals {
	r := &refusals{now: now}
	r.clear()
	return r
}

func (r *refusals) clear() {
	r.told, r.counted, r.seen = nil, map[access.TokenRefusal]int{}, map[access.TokenRefusal]int{}
}

// callerKey is where a handler notes who proved themselves.
type callerKey struct{}

// noted is who that is.
type noted struct{ principal identity.Principal }

// note has a refusal of r name who was refused.
func note(r *http.Request, p identity.Principal) {
	if n, ok := r.Context().Value(callerKey{}).(*noted); ok {
		n.principal = p
	}
}

// withNote gives r a place for note.
func withNote(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, &noted{}))
}

// add counts a refusal. Asking for a nonce is none.
func (r *refusals) add(req *http.Request, e *Error) {
	if e.Code == UseDPoPNonce || req.Method != http.MethodPost && req.URL.Path != pathAuthorize {
		return
	}
	one := access.TokenRefusal{Code: string(e.Code), Route: strings.TrimPrefix(req.URL.Path, "/oauth/")}
	if n, ok := req.Context().Value(callerKey{}).(*noted); ok {
		one.Principal = n.principal
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[one]++; !one.Principal.IsZero() && r.seen[one] <= verbatim && len(r.seen) <= maxKinds {
		whole := one
		whole.Count = 1
		r.told = append(r.told, whole)
		return
	}
	one.Principal = identity.Principal{}
	r.counted[one]++
}

// take returns what was gathered, and forgets it.
func (r *refusals) take() []access.TokenRefusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.told
	for one, n := range r.counted {
		one.Count = n
		out = append(out, one)
	}
	r.clear()
	return out
}

// Run puts refusals on record each second until ctx ends, and then what is left.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTime)
			defer cancel()
			s.flush(last)
			return nil
		case <-tick.C:
			s.flush(ctx)
		}
	}
}

func (s *Server) flush(ctx context.Context) {
	if err := s.service.RecordRefusals(ctx, s.refused.take()); err != nil && ctx.Err() == nil {
		s.c.Log.ErrorContext(ctx, "refused tokens not recorded", "error", err)
	}
}
