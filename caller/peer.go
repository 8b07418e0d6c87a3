package caller

import (
	"context"
	"net"
	"net/http"
	"os"

	"github.com/mayflyproxy/mayfly/grant"
)

// peer is who opened a connection, as far as the kernel says. The zero value is
// nobody.
type peer struct {
	uid   int
	known bool // the kernel named a user
	must  bool // without that, nobody is let in: a Unix socket has no other proof
}

// own refuses other users of this machine. Where the kernel names nobody for a
// loopback connection, the key alone decides.
func (p peer) own(*http.Request) error {
	if p.known && p.uid == os.Geteuid() || !p.known && !p.must {
		return nil
	}
	text := "the other end of the socket is not known"
	if p.known {
		text = "the request comes from another user of this machine"
	}
	d := grant.Deny(grant.NoIdentity, "%s", text)
	d.Next = "run the program and mayfly as one user"
	return d
}

type peerKey struct{}

// withPeer notes who opened c. It is looked up once, when c is accepted.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

func peerFrom(ctx context.Context) peer {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return peer{must: true}
	}
	return p
}

func peerOf(c net.Conn) peer {
	switch c := c.(type) {
	case *net.UnixConn:
		uid, err := socketUID(c)
		return peer{uid: uid, known: err == nil, must: true}
	case *net.TCPConn:
		uid, ok := loopbackUID(c)
		return peer{uid: uid, known: ok}
	default:
		return peer{must: true}
	}
}
