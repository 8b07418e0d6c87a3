package spiffe_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// A client that goes on over a connection of its old SVID would be refused on every
// call: the connection ends with the SVID, and no other does.
func TestAConnectionEndsWithItsSVID(t *testing.T) {
	ca := devtest.CA(t)
	listen := func(left time.Duration) string {
		var ahead time.Duration // of the door's clock
		if left > 0 {
			ahead = time.Hour - left
		}
		config, err := spiffe.ServerTLS(spiffe.TLSConfig{
			Source: devtest.Source(t, ca, control), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.Only(devtest.ID(t, gateway)),
			Now: func() time.Time { return time.Now().Add(ahead) },
		})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l = tls.NewListener(spiffe.Terminate(l), config)
		done := make(chan struct{})
		t.Cleanup(func() { _ = l.Close(); <-done })
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}()
		return l.Addr().String()
	}
	dial := func(address string) *tls.Conn {
		c, err := tls.Dial("tcp", address, clientConfig(t, ca, gateway))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := echoed(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	long, short := dial(listen(0)), dial(listen(time.Second))
	if err := short.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := short.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection outlives the SVID that opened it:", err)
	}
	if err := echoed(long); err != nil {
		t.Error("a connection ends before its SVID:", err)
	}
	if c, err := tls.Dial("tcp", listen(0), clientConfig(t, ca, refunder)); err == nil {
		if echoed(c) == nil { // a TLS 1.3 client sees a refusal on the first read
			t.Error("another workload gets in where connections end")
		}
		_ = c.Close()
	}
}

func echoed(c *tls.Conn) error {
	if _, err := io.WriteString(c, "x"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}
