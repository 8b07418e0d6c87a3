package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// beat is how often something is said on a stream.
const beat = 5 * time.Millisecond

// ends is what one side saw of each stream: when the last byte came, and when it was
// told that the stream is over.
type ends struct {
	mu   sync.Mutex
	last map[string]time.Time
	over map[string]time.Time
	all  *sync.Cond
}

func newEnds() *ends {
	e := &ends{last: map[string]time.Time{}, over: map[string]time.Time{}}
	e.all = sync.NewCond(&e.mu)
	return e
}

func (e *ends) byte(name string) { e.put(e.last, name) }
func (e *ends) end(name string)  { e.put(e.over, name) }

func (e *ends) put(in map[string]time.Time, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	in[name] = time.Now()
	e.all.Broadcast()
}

// of returns what was seen of one; zero: nothing yet.
func (e *ends) of(name string) (last, over time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last[name], e.over[name]
}

// streamApp is an upstream that talks for as long as it is let, in every way that the
// tests know, by HTTP/1.1, or by gRPC.
type streamApp struct {
	*ends
	http, grpc string // URLs
}

func startStreamApp(t testing.TB) *streamApp {
	t.Helper()
	a := &streamApp{ends: newEnds()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/talk", a.talk)
	mux.HandleFunc("/listen", a.listen)
	mux.HandleFunc("/socket", a.socket)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here\n") })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	a.http = "http://" + l.Addr().String()
	serve(t, func() error { return s.Serve(l) }, func() { _ = s.Close() })
	gl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	g.RegisterService(&grpc.ServiceDesc{ServiceName: "acme.Chat", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return a.chat(s) },
	}}}, nil)
	a.grpc = "http://" + gl.Addr().String()
	serve(t, func() error { return g.Serve(gl) }, g.Stop)
	return a
}

// talk answers for ever.
func (a *streamApp) talk(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Stream")
	defer a.end(name)
	w.Header().Set("Content-Type", r.Header.Get("Accept"))
	a.every(r.Context(), name, func() error {
		if _, err := io.WriteString(w, "data: tick\n\n"); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	})
}

func (a *streamApp) every(ctx context.Context, name string, say func() error) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for say() == nil {
		a.byte(name)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen reads for ever.
func (a *streamApp) listen(_ http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Stream")
	defer a.end(name)
	for b := make([]byte, 512); ; {
		n, err := r.Body.Read(b)
		if n > 0 {
			a.byte(name)
		}
		if err != nil {
			return
		}
	}
}

// socket changes to WebSocket's frames, of which it says one after the other.
func (a *streamApp) socket(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Stream")
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		defer a.end(name)
		_, _ = io.Copy(io.Discard, c)
	}()
	a.every(ctx, name, func() error { _, err := c.Write([]byte("\x81\x04tick")); return err })
	<-ctx.Done()
}

// chat says one message after the other.
func (a *streamApp) chat(s grpc.ServerStream) error {
	name := streamName(s.Context())
	defer a.end(name)
	a.every(s.Context(), name, func() error { return s.SendMsg(&emptypb.Empty{}) })
	return nil
}

// websocket makes the handshake of RFC 6455 by hand and returns what follows.
func websocket(c net.Conn, host, path, name string) (*bufio.Reader, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Stream: %s\r\n\r\n", path, host, name); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		err = fmt.Errorf("%s %s", resp.Status, b)
	}
	return r, err
}
