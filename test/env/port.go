package env

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// ports gives each call another port below those that systems give to connections
// that go out: one of those would take a port between our look and our use.
var ports = func() func() int {
	const first, below = 10_000, 32_000
	var given atomic.Int64
	start := rand.IntN(below - first)
	return func() int { return first + (start+int(given.Add(1)))%(below-first) }
}()

// FreeAddress returns a loopback address whose port was free a moment ago, and that
// no connection which goes out is given.
func FreeAddress() (address string, err error) {
	for range 100 {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports()))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", err
}

func awaitPort(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return Eventually(ctx, "listening on "+address, func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}
