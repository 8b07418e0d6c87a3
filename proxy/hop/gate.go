package hop

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
)

// Errors of a write that the gate refuses.
var (
	errTwice = errors.New("an action is sent once")
	errNone  = errors.New("a write without a decision")
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
// ticket has it. Dial and TLS are done before it is made.
type conn struct {
	net.Conn

	mu   sync.Mutex
	next *ticket // whose first write comes next
	open bool    // the current request has passed
}

func (c *conn) begin(t *ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next, c.open = t, false
}

// Write implements net.Conn. net/http has one goroutine a connection that writes.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	next, open := c.next, c.open
	c.next = nil
	c.mu.Unlock()
	switch {
	case next == nil && !open:
		return 0, errNone
	case next == nil:
		return c.Conn.Write(b)
	}
	n, err := next.first(func() (int, error) { return c.Conn.Write(b) })
	if err == nil {
		c.mu.Lock()
		c.open = true
		c.mu.Unlock()
	}
	return n, err
}

// withTicket returns a context under which the transport hands t to whichever
// connection it chooses.
func withTicket(ctx context.Context, t *ticket) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*conn); ok {
				c.begin(t)
			}
		},
	})
}
