package feedtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mayflyproxy/mayfly/feed"
)

// Wire is a running Server and how to reach it. Everything stops at the test's
// end.
type Wire struct {
	Server *feed.Server
	lis    *bufconn.Listener
	stop   func()
}

// Serve runs a server of source; every caller is taken for peer.
func Serve(t testing.TB, source feed.Source, peer string, change ...func(*feed.ServerConfig)) *Wire {
	t.Helper()
	c := feed.ServerConfig{Source: source, Peer: func(context.Context) (string, error) { return peer, nil }}
	for _, f := range change {
		f(&c)
	}
	s, err := feed.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, s, s.Run)
}

// ServeRaw serves a control plane that a test plays by hand.
func ServeRaw(t testing.TB, s feed.FeedServer) *Wire {
	t.Helper()
	return serve(t, s, func(ctx context.Context) error { <-ctx.Done(); return nil })
}

func serve(t testing.TB, s feed.FeedServer, run func(context.Context) error) *Wire {
	t.Helper()
	w := &Wire{lis: bufconn.Listen(64 << 10)}
	w.Server, _ = s.(*feed.Server)
	g := grpc.NewServer(feed.ServerOptions()...)
	feed.RegisterFeedServer(g, s)
	if sessions, ok := s.(feed.SessionsServer); ok {
		feed.RegisterSessionsServer(g, sessions)
	}
	if tokens, ok := s.(feed.TokensServer); ok {
		feed.RegisterTokensServer(g, tokens)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = run(ctx) })
	running.Go(func() { _ = g.Serve(w.lis) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		if w.Server == nil {
			g.Stop() // a played one does not end its streams
		}
		g.GracefulStop()
		running.Wait()
	})
	t.Cleanup(w.stop)
	return w
}

// Stop stops the server and waits for all of it.
func (w *Wire) Stop() { w.stop() }

// Dial returns a connection to the server.
func (w *Wire) Dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	return DialFunc(t, func() *Wire { return w })
}

// DialFunc returns a connection to whichever server to returns at the time.
func DialFunc(t testing.TB, to func() *Wire) *grpc.ClientConn {
	t.Helper()
	return dial(t, func(ctx context.Context) (net.Conn, error) { return to().lis.DialContext(ctx) })
}

// DialCounted returns a connection to the server, and how often this end has written.
func (w *Wire) DialCounted(t testing.TB) (*grpc.ClientConn, *atomic.Int64) {
	t.Helper()
	written := &atomic.Int64{}
	return dial(t, func(ctx context.Context) (net.Conn, error) {
		conn, err := w.lis.DialContext(ctx)
		return counted{conn, written}, err
	}), written
}

// counted counts what is written.
type counted struct {
	net.Conn
	written *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.written.Add(1)
	return c.Conn.Write(b)
}

func dial(t testing.TB, how func(context.Context) (net.Conn, error)) *grpc.ClientConn {
	t.Helper()
	options := append(feed.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return how(ctx) }))
	conn, err := grpc.NewClient("passthrough:///feed", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
