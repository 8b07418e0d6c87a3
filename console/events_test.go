package console_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

// reader is a browser that holds an event stream open.
type reader struct {
	header http.Header
	leave  context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	status  int
	got     strings.Builder
	pending string // written, not flushed
	broken  bool
	read    *time.Time
	write   []time.Time
}

func (r *reader) Header() http.Header { return r.header }

func (r *reader) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *reader) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return 0, errors.New("gone")
	}
	r.pending += string(b)
	return len(b), nil
}

func (r *reader) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.WriteString(r.pending)
	r.pending = ""
}

func (r *reader) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = &t
	return nil
}

func (r *reader) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write = append(r.write, t)
	return nil
}

// said returns what has come since the last call.
func (r *reader) said() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.got.String()
	r.got.Reset()
	return out
}

func (r *reader) over() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// listen opens the event stream of a browser.
func (b browser) listen() *reader {
	ctx, leave := context.WithCancel(b.t.Context())
	q := httptest.NewRequestWithContext(ctx, "GET", "/events", nil)
	q.AddCookie(&http.Cookie{Name: cookie, Value: b.secret})
	r := &reader{header: http.Header{}, leave: leave, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		b.pages.ServeHTTP(r, q)
	}()
	return r
}

const change = "event: change\ndata: \n\n"

// live runs f in a bubble of time, over a world of its own.
func live(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

func TestEventsTellOfWhatIsTheReaders(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		s := w.spool()
		alice, bob, erin := w.alice(), w.bob(), w.login("erin")
		pages := map[string]*reader{"alice": alice.listen(), "bob": bob.listen(), "erin": erin.listen()}
		heard := func(what string, want ...string) {
			t.Helper()
			for name, r := range pages {
				got, wanted := r.said(), ""
				for _, one := range want {
					if one == name {
						wanted = change
					}
				}
				if got != wanted {
					t.Errorf("%s: %s heard %q, want %q", what, name, got, wanted)
				}
			}
			time.Sleep(time.Second) // of the bubble: streams rest after an event
		}
		for name, r := range pages {
			if got := r.said(); got != "retry: 3000\n: open\n\n" || r.status != http.StatusOK || r.header.Get("Content-Type") != "text/event-stream" {
				t.Errorf("%s: %d %q", name, r.status, got)
			}
		}
		r := alice.asks(refund())
		heard("a request", "alice", "bob")
		r, err := w.Approve(t.Context(), bob.caller(), r.ID, r.OfferDigest, "")
		check(t, err)
		heard("an approval", "alice", "bob")
		s.act(r, "refunds.create", audit.ResultSent)
		heard("an action", "alice", "bob")
		own := erin.session.Principal
		_, err = w.Request(t.Context(), access.Caller{Principal: own, GroupsAt: w.clock()}, access.Ask{Entitlement: "reports/read"})
		check(t, err)
		heard("a refused request", "erin")
		_, err = w.Finish(t.Context(), alice.caller(), r.Grant)
		check(t, err)
		heard("an end", "alice", "bob")
		w.login("carol")
		heard("a login")
		for _, r := range pages {
			r.leave()
			if !r.over() {
				t.Error("a reader who left is written to")
			}
		}
	})
}

func TestManyChangesMakeFewEvents(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		alice := w.alice()
		r := alice.listen()
		r.said()
		for range 20 {
			alice.granted()
			synctest.Wait()
		}
		if got := r.said(); got != change {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(time.Second)
		if got := r.said(); got != change {
			t.Errorf("a second later: %q", got)
		}
		time.Sleep(5 * time.Second)
		if got := r.said(); got != "" {
			t.Errorf("then: %q", got)
		}
		for range 200 {
			alice.granted() // more than a watch remembers
		}
		if got := r.said(); got != change {
			t.Errorf("many: %q", got)
		}
		r.leave()
		r.over()
	})
}

func TestEventsEndWithTheSession(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		alice := w.alice()
		out, ends := alice.listen(), w.alice()
		later := ends.listen()
		time.Sleep(16 * time.Second)
		if got := out.said(); got != "retry: 3000\n: open\n\n: beat\n\n" {
			t.Errorf("signs of life: %q", got)
		}
		check(t, w.EndSession(t.Context(), alice.session.ID))
		if !out.over() {
			t.Error("goes on after the logout")
		}
		if later.over() {
			t.Error("the logout of one session ends another")
		}
		later.said()
		time.Sleep(8 * time.Hour)
		if !later.over() {
			t.Error("goes on after the session's life")
		}
		if got := later.said(); strings.Contains(got, "change") {
			t.Error("told of something after its end")
		}
		if res := alice.do("GET", "/events", ""); res.Code != http.StatusUnauthorized || res.Header().Get("Location") != "" {
			t.Errorf("a reader without a session: %d", res.Code)
		}
	})
}

func TestNothingIsToldAfterTheLogout(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		alice := w.alice()
		r := alice.listen()
		r.said()
		// Both are committed before the stream looks.
		check(t, w.db.Update(t.Context(), func(tx access.Tx) error { return tx.Sessions().End(t.Context(), alice.session.ID, tx.Now()) }))
		alice.granted()
		if got := r.said(); got != "" || !r.over() {
			t.Errorf("told %q", got)
		}
	})
}

func TestStreamsOfOnePersonAreBounded(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		alice := w.alice()
		var open []*reader
		for range 8 {
			open = append(open, w.alice().listen())
			synctest.Wait()
		}
		if res := alice.do("GET", "/events", ""); res.Code != http.StatusTooManyRequests {
			t.Errorf("the ninth: %d", res.Code)
		}
		other := w.bob().listen()
		if got := other.said(); got == "" {
			t.Error("another person is refused too")
		}
		open[0].leave()
		open[0].over()
		again := alice.listen()
		if got := again.said(); got == "" {
			t.Error("one that is free again is not")
		}
		// A reader who takes nothing is left.
		again.mu.Lock()
		again.broken = true
		again.mu.Unlock()
		time.Sleep(15 * time.Second)
		if !again.over() {
			t.Error("a reader who is gone is written to")
		}
		for _, r := range append(open, other) {
			r.leave()
			r.over()
		}
	})
}

func TestEventsOutliveTheServersDeadlines(t *testing.T) {
	live(t, func(t *testing.T, w *world) {
		r := w.alice().listen()
		r.said()
		time.Sleep(15 * time.Second)
		r.said()
		if r.read == nil || !r.read.IsZero() {
			t.Errorf("the deadline for reading is %v", r.read)
		}
		if len(r.write) != 2 || !r.write[1].After(r.write[0]) || r.write[0].IsZero() {
			t.Errorf("the deadlines for writing are %v", r.write)
		}
		r.leave()
		r.over()
	})
}
