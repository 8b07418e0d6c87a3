package console

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

// maxStreams is how many event streams one person may hold open.
const maxStreams = 8

// writeTime is how long one write to a reader may take.
const writeTime = 10 * time.Second

// streams counts the open event streams of each person. The zero value is ready.
type streams struct {
	mu   sync.Mutex
	open map[identity.Principal]int
}

func (s *streams) enter(p identity.Principal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[identity.Principal]int{}
	}
	if s.open[p] >= maxStreams {
		return false
	}
	s.open[p]++
	return true
}

func (s *streams) leave(p identity.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[p]--; s.open[p] <= 0 {
		delete(s.open, p)
	}
}

// events tells an open page that something on it may have changed. It says no
// more than that: the page is fetched again, by who its reader then is. The
// stream ends with the session.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	v, err := c.visit(r)
	if err != nil { // a redirect would be followed, and read as a stream
		c.refuse(w, r, nil, err)
		return
	}
	if !c.streams.enter(v.Principal) {
		c.refuse(w, r, v, problem(http.StatusTooManyRequests, "too_many", "Too many pages are open", "Close some of them: this one does not follow what happens."))
		return
	}
	defer c.streams.leave(v.Principal)
	// From here on nothing that is committed goes unheard, so what the reader
	// fetches after the first sign of life is new enough.
	watch := c.service.Watch()
	defer watch.Stop()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &stream{Console: c, w: w, control: http.NewResponseController(w), reader: v, watch: watch}
	_ = s.control.SetReadDeadline(time.Time{}) // the server's own is for requests that end
	s.run(r.Context(), r)
}

// stream is one open event stream.
type stream struct {
	*Console
	w       io.Writer
	control *http.ResponseController
	reader  *visit
	watch   *access.Watch
}

// run writes until the reader is gone or their session has ended.
func (s *stream) run(ctx context.Context, r *http.Request) {
	if !s.write("retry: 3000\n: open\n\n") {
		return
	}
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if !s.known(r) || !s.write(": beat\n\n") {
				return
			}
		case <-s.watch.Rung():
			if !s.rung(ctx, r) {
				return
			}
		}
	}
}

// rung tells the reader of what was committed, if it is theirs to see, and then
// rests: what happens meanwhile makes one event.
func (s *stream) rung(ctx context.Context, r *http.Request) bool {
	ids, many := s.watch.Take()
	if !s.known(r) {
		return false
	}
	concerns := many
	if !many {
		var err error
		if concerns, err = s.service.Concerns(ctx, s.reader.Caller, ids); err != nil {
			return false // the reader connects again
		}
	}
	if !concerns {
		return true
	}
	if !s.write("event: change\ndata: \n\n") {
		return false
	}
	rest := time.NewTimer(s.gap)
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
		return true
	}
}

// known reports whether the session still lives, and who its person is now.
func (s *stream) known(r *http.Request) bool {
	v, err := s.visit(r)
	if err != nil || v.Principal != s.reader.Principal {
		return false
	}
	s.reader = v
	return true
}

func (s *stream) write(text string) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime)) // not every writer has one
	if _, err := io.WriteString(s.w, text); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
