package caller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	headerTime  = 10 * time.Second // for a request's head
	headerBytes = 60 << 10         // what Envoy takes
	idleTime    = 2 * time.Minute
)

// Listener is one way in for programs of this machine. It takes requests while Run
// runs.
type Listener struct {
	config Config
	inner  net.Listener
	hosts  []string
}

// Open checks c and listens: from then on its address is taken and known. Whoever
// opened it calls Run, or Close.
func Open(c Config) (*Listener, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Socket != "" {
		l, err := listenSocket(c.Socket)
		if err != nil {
			return nil, err
		}
		return &Listener{config: c, inner: l, hosts: []string{"localhost", c.Host}}, nil
	}
	l, err := net.Listen("tcp", c.Address.String())
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", c.Address, err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Listener{config: c, inner: l, hosts: []string{net.JoinHostPort(host, port), "localhost:" + port}}, nil
}

// listenSocket listens at path, which only the own user opens. A socket that a
// process left when it was killed is taken away; one that somebody serves is not.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: another process serves this socket", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%s: there is something, and it is no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// URL returns the address for programs: http://127.0.0.1:PORT, or unix:PATH, whose
// host is localhost.
func (l *Listener) URL() string {
	if l.config.Socket != "" {
		return "unix:" + l.config.Socket
	}
	return "http://" + l.hosts[0]
}

// Port returns the port, 0 of a socket.
func (l *Listener) Port() int {
	_, port, err := net.SplitHostPort(l.hosts[0])
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// Close gives the address back, for a Listener that was never run.
func (l *Listener) Close() error { return l.inner.Close() }

// Run takes requests until ctx ends. Then nobody new is let in, and those under way
// have Config.Grace until they are cut. It returns nil when it was asked to end.
func (l *Listener) Run(ctx context.Context) error {
	s := &http.Server{
		Handler:           newProxy(l.config, l.hosts),
		ReadHeaderTimeout: headerTime, MaxHeaderBytes: headerBytes, IdleTimeout: idleTime,
		ConnContext: withPeer, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(l.config.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l.inner) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.URL(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.config.Grace)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		_ = s.Close() // what was under way is cut
	}
	<-served
	return nil
}
