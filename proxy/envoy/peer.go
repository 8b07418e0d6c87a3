package envoy

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// RunDir makes dir if it is not there, and refuses one that others can enter.
func RunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("run directory %s: want a directory of our own with mode 0700", dir)
	}
	return nil
}

// Listener takes connections of one process only.
type Listener struct {
	*net.UnixListener
	child func() int
	log   *slog.Logger
}

// Listen opens a Unix socket, 0600, in a directory that RunDir accepts. Only the
// process that child names (Supervisor.PID), under our own uid, gets through;
// others are closed unread and logged. A socket left by a dead process is
// replaced, one that somebody listens on is an error. log may be nil.
func Listen(path string, child func() int, log *slog.Logger) (*Listener, error) {
	if child == nil {
		return nil, errors.New("listen: whose connections to take is required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := RunDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
	}
	return &Listener{UnixListener: l, child: child, log: log}, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen: %s is there and is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("listen: %s is in use by another process", path), c.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Accept returns the next connection of the child. While the child is being
// started it waits for its process id.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := l.admit(c); err == nil {
			return c, nil
		} else {
			l.log.Warn("connection refused", "socket", l.Addr().String(), "error", err)
		}
		if err := c.Close(); err != nil {
			l.log.Warn("closing a refused connection", "error", err)
		}
	}
}

func (l *Listener) admit(c *net.UnixConn) error {
	pid, uid, err := peerOf(c)
	if err != nil {
		return err
	}
	if child := l.child(); child == 0 || pid != child || uid != os.Getuid() {
		return fmt.Errorf("process %d of user %d is not our envoy (%d)", pid, uid, child)
	}
	return nil
}
