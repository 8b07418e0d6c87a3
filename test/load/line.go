package main

import (
	"context"
	"net"
	"sync"
)

// line is how one instance reaches mayflyd. Stopped, it takes nothing more from the
// network, as a process does that hangs: its connections stay open.
type line struct {
	mu      sync.Mutex
	stopped bool
}

func newLine() *line { return &line{} }

func (l *line) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

func (l *line) is() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

func (l *line) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &lineConn{Conn: c, line: l, closed: make(chan struct{})}, nil
}

type lineConn struct {
	net.Conn
	line   *line
	once   sync.Once
	closed chan struct{}
}

// Read hangs once the line is stopped, until the connection is closed. What was
// read already when it was stopped is the last.
func (c *lineConn) Read(b []byte) (int, error) {
	if c.line.is() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(b)
}

func (c *lineConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
