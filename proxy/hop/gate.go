package hop

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
)

// Errors of what the gate refuses.
var (
	errTwice   = errors.New("an action is sent once")
	errNone    = errors.New("a write without a decision")
	errUnasked = errors.New("the upstream answered before it was asked")
)

// ticket lets exactly one request write to an upstream connection: pass is the
// last look, and runs write only if it says yes.
type ticket struct {
	pass func(write func() error) error

	mu   sync.Mutex
	used bool
	sent bool // at least one byte was handed to the kernel
	err  error
}

// first runs the first write of a request under the last look. net/http tries an
// idempotent request again on a new connection; that attempt finds the ticket used.
func (t *ticket) first(write func() (int, error)) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used {
		return 0, errTwice
	}
	t.used = true
	t.err = t.pass(func() error {
		var werr error
		n, werr = write()
		t.sent = n > 0
		return werr
	})
	return n, t.err
}

// spend makes the ticket worthless, and reports whether a byte left under it, and
// what stopped it if none did. No byte leaves any more that has not.
func (t *ticket) spend() (sent bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used = true
	return t.sent, t.err
}

// conn is an upstream connection that refuses to write until a request with a
// ticket has it, and to read what nobody asked for: net/http would show it to the
// log, or to the next request. Dial and TLS are done before it is made.
type conn struct {
	net.Conn
	raw net.Conn // below TLS; or the same

	mu    sync.Mutex
	owner *ticket
	fresh bool // the owner has written nothing yet
	open  bool // the owner's first write has passed, and its answer has not ended
}

// begin gives the connection to a request.
func (c *conn) begin(t *ticket) { c.set(func() { c.owner, c.fresh, c.open = t, true, false }) }

// end takes it back when the answer has ended, if no other request has it already.
func (c *conn) end(t *ticket) {
	c.set(func() {
		if c.owner == t {
			c.owner, c.fresh, c.open = nil, false, false
		}
	})
}

func (c *conn) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// Write implements net.Conn. net/http has one goroutine a connection that writes.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	owner, fresh, open := c.owner, c.fresh, c.open
	c.fresh = false
	c.mu.Unlock()
	switch {
	case fresh:
		return owner.first(func() (int, error) {
			c.set(func() { c.open = true })
			return c.Conn.Write(b)
		})
	case open:
		return c.Conn.Write(b)
	default:
		return 0, errNone
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && !c.open {
		return 0, errUnasked
	}
	return n, err
}

// Close implements net.Conn. It says no good-bye in TLS: an upstream that hears
// one may still end its answer in good order, and a cut would look like an end.
func (c *conn) Close() error { return c.raw.Close() }

// withTicket returns a context under which the transport hands t to whichever
// connection it chooses.
func withTicket(ctx context.Context, t *ticket) context.Context {
	var mu sync.Mutex
	var mine *conn
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*conn); ok {
				c.begin(t)
				mu.Lock()
				defer mu.Unlock()
				mine = c
			}
		},
		PutIdleConn: func(error) {
			mu.Lock()
			defer mu.Unlock()
			if mine != nil {
				mine.end(t)
			}
		},
	})
}
