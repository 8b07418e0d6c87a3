package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// staleAfter is that of the apps.
const staleAfter = 5 * time.Second

const feedsHost, chatHost = "feeds.acme.example", "chat.acme.example"

// streamFiles are the policy of two apps whose streams are guarded.
func streamFiles(p *product, a *streamApp) map[string]string {
	app := func(name, host, url, more string) string {
		return fmt.Sprintf(`app: %s
kind: web
owner: team-data
hosts: [%s]
callers: [services]
upstream: {url: %q%s}
stale_after: 5s
streams: guard
`, name, host, url, more)
	}
	entitlement := func(name, app string) string {
		return fmt.Sprintf(`entitlement: %s
owner: team-data
app: %s
allow:
  - {operations: [http.get, http.post, http.websocket]}
sensitivity: write
grant: {max: 8h, default: 30m}
request:
  who: ["spiffe://acme.example/ns/data/sa/reporter"]
  for: [self]
  justification: none
approve:
  auto: {when: "request.duration <= duration('30m')"}
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 4h}
`, name, app)
	}
	return map[string]string{
		"mayfly.yaml":                  strings.Replace(p.Files()["mayfly.yaml"], "apps: [stripe, reports, wiki]", "apps: [chat, feeds, stripe, reports, wiki]", 1),
		"apps/feeds.yaml":              app("feeds", feedsHost, a.http, ""),
		"apps/chat.yaml":               app("chat", chatHost, a.grpc, ", protocol: http/2"),
		"entitlements/feeds/use.yaml":  entitlement("feeds/use", "feeds"),
		"entitlements/feeds/also.yaml": entitlement("feeds/also", "feeds"),
		"entitlements/chat/use.yaml":   entitlement("chat/use", "chat"),
		"entitlements/chat/also.yaml":  entitlement("chat/also", "chat"),
	}
}

// streams are requests that last, through one gateway.
type streams struct {
	p   *product
	app *streamApp
	gw  *env.Gateway
	h1  *env.Caller
	h2  *env.Caller

	*ends // as callers see them
	names []string
	stop  context.CancelFunc
	ctx   context.Context
}

func (p *product) streams(t testing.TB, a *streamApp, gw *env.Gateway) *streams {
	t.Helper()
	s := &streams{p: p, app: a, gw: gw, ends: newEnds()}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	var err error
	if s.h1, err = p.CallerOver(t.Context(), "reporter", gw, "http/1.1"); err != nil {
		t.Fatal(err)
	}
	if s.h2, err = p.CallerOver(t.Context(), "reporter", gw, "h2"); err != nil {
		t.Fatal(err)
	}
	s.h1.Timeout, s.h2.Timeout = 0, 0
	t.Cleanup(func() {
		s.stop()
		s.h1.Close()
		s.h2.Close()
	})
	return s
}

// allowed makes grants for that long and waits until the gateway knows them.
func (s *streams) allowed(t testing.TB, d time.Duration) (feeds, chat api.Grant) {
	t.Helper()
	feeds = s.p.grant(t, s.p.reporter, api.Ask{Entitlement: "feeds/use", Duration: d.String()})
	chat = s.p.grant(t, s.p.reporter, api.Ask{Entitlement: "chat/use", Duration: d.String()})
	c := caller{s.h1.Client}
	passes(t, "the feeds", func() answer { return c.get(t, "https://"+feedsHost+"/") })
	s.held(t, chat)
	return feeds, chat
}

// also makes grants of the same access for that long, likewise.
func (s *streams) also(t testing.TB, d time.Duration) (feeds, chat api.Grant) {
	t.Helper()
	feeds = s.p.grant(t, s.p.reporter, api.Ask{Entitlement: "feeds/also", Duration: d.String()})
	chat = s.p.grant(t, s.p.reporter, api.Ask{Entitlement: "chat/also", Duration: d.String()})
	s.held(t, feeds)
	s.held(t, chat)
	return feeds, chat
}

// held waits until every gateway holds a grant.
func (s *streams) held(t testing.TB, g api.Grant) {
	t.Helper()
	eventually(t, "the gateway holds "+g.Entitlement, func() error {
		r, err := s.p.reporter.Reach(t.Context(), g.ID)
		if err == nil && (r.Holds == 0 || len(r.Waits) > 0) {
			err = errNotYet
		}
		return err
	})
}

// goOn waits until each stream has carried something after that moment.
func (s *streams) goOn(t testing.TB, from time.Time) {
	t.Helper()
	for _, name := range s.names {
		eventually(t, name+" goes on", func() error {
			last, over := s.app.of(name)
			if !strings.HasPrefix(name, "slow POST") {
				last, _ = s.of(name)
			}
			if !over.IsZero() {
				t.Fatalf("%s ended for the app %s after that", name, over.Sub(from))
			}
			if !last.After(from) {
				return fmt.Errorf("last byte %s", last)
			}
			return nil
		})
	}
}

// cutBy waits until every gateway has acknowledged the end of each grant, and returns how
// many streams they say were cut.
func (s *streams) cutBy(t testing.TB, grants [2]api.Grant) (cut int) {
	t.Helper()
	for _, g := range grants {
		var r api.Receipts
		eventually(t, "the end of "+g.Entitlement+" is acknowledged", func() (err error) {
			r, err = s.p.bob.Receipts(t.Context(), g.ID)
			if err == nil && !r.Complete {
				err = errNotYet
			}
			return err
		})
		for _, w := range r.Waits {
			cut += w.StreamsCut
		}
	}
	return cut
}

// wentOn holds the record to what it must say of each stream: an intent under the first
// of two grants, that it went on under the second, and an outcome that says what ended it.
func (s *streams) wentOn(t testing.TB, first, second [2]api.Grant, by string) {
	t.Helper()
	eventually(t, "the outcomes are on record", func() error {
		_, r, _ := s.p.record(t)
		n := 0
		for id, i := range r.Intents {
			k := slices.IndexFunc(first[:], func(g api.Grant) bool { return g.ID == i.Grant })
			if k < 0 || i.Deadline.IsZero() || i.Try.Resource == "/" {
				continue
			}
			rebound, o := r.Rebounds[id], r.Outcomes[id]
			if o.Action == "" {
				return fmt.Errorf("%s has no outcome", id)
			}
			if len(rebound) != 1 || rebound[0].From != first[k].ID || rebound[0].Grant != second[k].ID || o.EndedBy != by {
				t.Fatalf("%s: %+v, outcome %+v", id, rebound, o)
			}
			n++
		}
		if n != len(s.names) {
			return fmt.Errorf("%d streams of %d", n, len(s.names))
		}
		return nil
	})
}

// kinds of traffic, by name: what opens one.
func (s *streams) kinds() map[string]func(name string) error {
	return map[string]func(string) error{
		"slow GET/1.1":  func(n string) error { return s.get(s.h1, n, "text/plain") },
		"slow GET/2":    func(n string) error { return s.get(s.h2, n, "text/plain") },
		"SSE/1.1":       func(n string) error { return s.get(s.h1, n, "text/event-stream") },
		"SSE/2":         func(n string) error { return s.get(s.h2, n, "text/event-stream") },
		"slow POST/1.1": func(n string) error { return s.post(s.h1, n) },
		"slow POST/2":   func(n string) error { return s.post(s.h2, n) },
		"gRPC bidi/2":   s.chat,
		"WebSocket/1.1": s.socket,
	}
}

// open opens one stream of each kind and returns when all talk.
func (s *streams) open(t testing.TB) {
	t.Helper()
	for name, open := range s.kinds() {
		s.names = append(s.names, name)
		if err := open(name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	slices.Sort(s.names)
	for _, name := range s.names {
		eventually(t, name+" talks", func() error {
			if last, over := s.app.of(name); last.IsZero() || !over.IsZero() {
				return fmt.Errorf("last byte %v, over %v", last, over)
			}
			return nil
		})
	}
}

func (s *streams) request(method, host, path, name string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(s.ctx, method, "https://"+host+path, body)
	if err == nil {
		r.Header.Set("X-Stream", name)
	}
	return r, err
}

func (s *streams) get(c *env.Caller, name, accept string) error {
	r, err := s.request(http.MethodGet, feedsHost, "/talk", name, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", accept)
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s %s", resp.Status, b)
	}
	go func() {
		defer s.end(name)
		defer func() { _ = resp.Body.Close() }()
		s.drain(name, resp.Body)
	}()
	return nil
}

func (s *streams) drain(name string, r io.Reader) {
	for b := make([]byte, 512); ; {
		n, err := r.Read(b)
		if n > 0 {
			s.byte(name)
		}
		if err != nil {
			return
		}
	}
}

func (s *streams) post(c *env.Caller, name string) error {
	pr, pw := io.Pipe()
	r, err := s.request(http.MethodPost, feedsHost, "/listen", name, pr)
	if err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for range tick.C {
			if _, err := pw.Write([]byte("tick\n")); err != nil {
				return
			}
		}
	}()
	go func() {
		defer s.end(name)
		if resp, err := c.Do(r); err == nil {
			_ = resp.Body.Close()
		}
		_ = pr.Close()
	}()
	return nil
}

func (s *streams) socket(name string) error {
	c, err := s.h1.Dial(s.ctx, feedsHost)
	if err != nil {
		return err
	}
	r, err := websocket(c, feedsHost, "/socket", name)
	if err != nil {
		_ = c.Close()
		return err
	}
	go func() {
		defer s.end(name)
		defer func() { _ = c.Close() }()
		s.drain(name, r)
	}()
	context.AfterFunc(s.ctx, func() { _ = c.Close() })
	return nil
}

func (s *streams) chat(name string) error {
	conn, err := grpc.NewClient("passthrough:///"+chatHost, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(chatHost),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.h2.Dial(ctx, chatHost) }))
	if err != nil {
		return err
	}
	g, err := conn.NewStream(metadata.AppendToOutgoingContext(s.ctx, "x-stream", name), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/acme.Chat/Talk")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	go func() {
		defer func() { _ = conn.Close() }()
		defer s.end(name)
		for g.RecvMsg(&emptypb.Empty{}) == nil {
			s.byte(name)
		}
	}()
	return nil
}

func streamName(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("x-stream"), "")
}

// ended waits until both sides saw the end of each stream, and prints when, counted
// from that moment. Nothing may cross, and nobody may still wait, later than late.
func (s *streams) ended(t testing.TB, cause string, from time.Time, late time.Duration) {
	t.Helper()
	ms := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return fmt.Sprintf("%.1f", float64(at.Sub(from).Microseconds())/1000)
	}
	for _, name := range s.names {
		eventually(t, name+" ends on both sides", func() error {
			_, here := s.of(name)
			_, there := s.app.of(name)
			if here.IsZero() || there.IsZero() {
				return fmt.Errorf("for the caller %v, for the app %v", here, there)
			}
			return nil
		})
		last, over := s.of(name)
		appLast, appOver := s.app.of(name)
		t.Logf("| %s | %s | %s | %s | %s | %s |", cause, name, ms(last), ms(over), ms(appLast), ms(appOver))
		crossed := last // of what the app says to the caller, or the caller to the app
		if strings.HasPrefix(name, "slow POST") {
			crossed = appLast
		}
		for what, at := range map[string]time.Time{"the last byte": crossed, "the caller's end": over, "the app's end": appOver} {
			if at.Sub(from) > late {
				t.Errorf("%s, %s: %s came %s ms after it, want at most %s", cause, name, what, ms(at), late)
			}
		}
	}
}

// TestP4_AStreamEndsWithItsAccess holds every kind of stream to every way in which its
// access ends, or its guard is lost.
func TestP4_AStreamEndsWithItsAccess(t *testing.T) {
	needProduct(t)
	p, err := startWith(env.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop() })
	app := startStreamApp(t)
	hash, err := p.Policy.Commit("Add two apps whose streams are guarded", streamFiles(p, app))
	if err != nil {
		t.Fatal(err)
	}
	p.inForce(t, hash)
	for _, host := range []string{feedsHost, chatHost} { // until then Envoy knows no such name
		c := p.as(t, "reporter", p.gw)
		eventually(t, host+" is served", func() error { _, err := c.do(t.Context(), http.MethodGet, "https://"+host+"/", nil); return err })
	}
	t.Log("| ended by | kind | caller: last byte, ms | caller: end | app: last byte | app: end |")
	t.Log("|---|---|---|---|---|---|")

	t.Run("revoke", func(t *testing.T) {
		s := p.streams(t, app.anew(), p.gw)
		feeds, chat := s.allowed(t, 10*time.Minute)
		s.open(t)
		began := time.Now()
		for _, g := range []api.Grant{feeds, chat} {
			if _, err := p.bob.Revoke(t.Context(), g.ID, api.Because{Reason: "the work is done"}); err != nil {
				t.Fatal(err)
			}
		}
		s.ended(t, "revoke", began, 2*time.Second)
	})
	t.Run("end", func(t *testing.T) {
		s := p.streams(t, app.anew(), p.gw)
		feeds, chat := s.allowed(t, 4*time.Second)
		s.open(t)
		end := endOf(t, feeds)
		if other := endOf(t, chat); other.After(end) {
			end = other
		}
		s.ended(t, "end", end, env.Late)
	})
	t.Run("revoke, then the other grant's end", func(t *testing.T) {
		s := p.streams(t, app.anew(), p.gw)
		var first, second [2]api.Grant
		first[0], first[1] = s.allowed(t, 10*time.Minute)
		s.open(t)
		second[0], second[1] = s.also(t, 6*time.Second)
		for _, g := range first {
			if _, err := p.bob.Revoke(t.Context(), g.ID, api.Because{Reason: "the other one will do"}); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.cutBy(t, first); n != 0 {
			t.Errorf("%d streams that go on are told as cut", n)
		}
		s.goOn(t, time.Now())
		end := endOf(t, second[0])
		if other := endOf(t, second[1]); other.After(end) {
			end = other
		}
		s.ended(t, "revoke, then the other grant's end", end, env.Late)
		s.wentOn(t, first, second, "deadline")
	})
	t.Run("end, then a revoke of the other grant", func(t *testing.T) {
		s := p.streams(t, app.anew(), p.gw)
		var first, second [2]api.Grant
		first[0], first[1] = s.allowed(t, 6*time.Second)
		s.open(t)
		second[0], second[1] = s.also(t, 10*time.Minute)
		s.goOn(t, endOf(t, first[1]).Add(env.Late))
		began := time.Now()
		for _, g := range second {
			if _, err := p.bob.Revoke(t.Context(), g.ID, api.Because{Reason: "the work is done"}); err != nil {
				t.Fatal(err)
			}
		}
		s.ended(t, "end, then a revoke of the other grant", began, 2*time.Second)
		// An end that a gateway hears of with another one counts the streams of both.
		if n := s.cutBy(t, second); n < len(s.names) || n > 2*len(s.names) {
			t.Errorf("%d streams are told as cut, of %d", n, len(s.names))
		}
		s.wentOn(t, first, second, "grant")
	})
	t.Run("none without its guard", func(t *testing.T) { noneUnguarded(t, p.gw) })
	t.Run("lost lease", func(t *testing.T) {
		relay, err := env.NewRelay(p.Nodes())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(relay.Close)
		p.Via = relay.Address
		gw, err := p.StartGateway(t.Context(), "gw-deaf")
		p.Via = ""
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Retire(gw) })
		s := p.streams(t, app.anew(), gw)
		s.allowed(t, 10*time.Minute)
		s.open(t)
		began := time.Now()
		relay.Swallow()
		s.ended(t, "lost lease", began, staleAfter+env.Late)
	})
	for _, c := range []struct {
		name string
		do   func(*env.Gateway) error
		late time.Duration
	}{
		{"sidecar SIGKILL", func(g *env.Gateway) error { return g.Process.Signal(syscall.SIGKILL) }, time.Second},
		{"sidecar SIGSTOP", func(g *env.Gateway) error { return g.Process.Signal(syscall.SIGSTOP) }, 3 * time.Second},
		{"Envoy SIGSTOP", stopEnvoy, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw, err := p.StartGateway(t.Context(), strings.ReplaceAll(c.name, " ", "-"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = gw.Process.Kill()
				_ = p.Retire(gw)
			}()
			s := p.streams(t, app.anew(), gw)
			s.allowed(t, 10*time.Minute)
			s.open(t)
			began := time.Now()
			if err := c.do(gw); err != nil {
				t.Fatal(err)
			}
			s.ended(t, c.name, began, c.late)
		})
	}
}

// noneUnguarded asks Envoy, under the name that the sidecar reads, whether a request went
// on without its guard, and the sidecar what it made of that.
func noneUnguarded(t *testing.T, g *env.Gateway) {
	pid, err := g.Envoy()
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(string(line), "\x00")
	at := slices.Index(args, "--config-path")
	if at < 0 {
		t.Fatalf("envoy runs as %q", args)
	}
	stats, err := admin(t, &gateway{run: filepath.Dir(args[at+1])}, `/stats?filter=%5C.ext_proc%5C.server_half_closed%24`)
	const want = "http.services_chat.ext_proc.server_half_closed: 0\nhttp.services_feeds.ext_proc.server_half_closed: 0\n"
	if err != nil || stats != want {
		t.Errorf("envoy counts %q, %v, want %q", stats, err, want)
	}
	if text, err := g.Metrics(t.Context()); err != nil || !strings.Contains(text, "\nmayfly_gateway_unguarded_streams_total 0\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

// stopEnvoy stops Envoy alone: its sidecar kills it, so that it passes nothing on later.
func stopEnvoy(g *env.Gateway) error {
	pid, err := g.Envoy()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGSTOP)
}

// anew forgets the streams that were.
func (a *streamApp) anew() *streamApp {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.last)
	clear(a.over)
	return a
}
