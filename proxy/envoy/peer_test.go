package envoy

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func TestListenerTakesTheChildOnly(t *testing.T) {
	var child atomic.Int64
	path := devtest.Socket(t, "s.sock")
	l, err := Listen(path, func() int { return int(child.Load()) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	for name, c := range map[string]struct {
		pid  int
		pass bool
	}{"no child runs": {0, false}, "another process": {os.Getpid() + 1, false}, "the child": {os.Getpid(), true}} {
		child.Store(int64(c.pid))
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if c.pass {
			(<-accepted).Close()
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: was sent something", name)
		}
		conn.Close()
		if len(accepted) != 0 {
			t.Errorf("%s: got through", name)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	self := os.Getpid
	t.Run("a socket in use", func(t *testing.T) {
		path := devtest.Socket(t, "s.sock")
		l, err := Listen(path, self, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := Listen(path, self, nil); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Error(err)
		}
	})
	t.Run("not one that a dead process left", func(t *testing.T) {
		path := devtest.Socket(t, "s.sock")
		old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		old.SetUnlinkOnClose(false)
		old.Close()
		l, err := Listen(path, self, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	})
	t.Run("a file in its place", func(t *testing.T) {
		path := devtest.Socket(t, "s.sock")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path, self, nil); err == nil {
			t.Error("replaced it")
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
			t.Error(errors.Join(err, errors.New("the file is gone")))
		}
	})
	t.Run("a directory that others can enter", func(t *testing.T) {
		path := devtest.Socket(t, "s.sock")
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path, self, nil); err == nil || !strings.Contains(err.Error(), "0700") {
			t.Error(err)
		}
	})
	t.Run("nobody to serve", func(t *testing.T) {
		if _, err := Listen(devtest.Socket(t, "s.sock"), nil, nil); err == nil {
			t.Error("took everybody")
		}
	})
}
