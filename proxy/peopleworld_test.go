package proxy_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// secretA and secretB are what cookies hold: 256 bits in base64url.
const (
	secretA = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	secretB = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
)

// sessions is a control plane that keeps sessions and codes, and can be silent.
type sessions struct {
	world *proxytest.World

	mu     sync.Mutex
	silent bool
	during func() // runs while a look-up is on its way
	codes  map[string]code
	live   map[[32]byte]*feed.Resource
	asked  int // look-ups
}

// code is bound to app, host and state.
type code struct{ app, host, state string }

func newSessions(w *proxytest.World) *sessions {
	return &sessions{world: w, codes: map[string]code{}, live: map[[32]byte]*feed.Resource{}}
}

// begin does f under the lock, and says what a silent control plane says.
func (s *sessions) begin(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		return errors.New("connection refused")
	}
	f()
	return nil
}

func (s *sessions) Redeem(_ context.Context, app, host, text, state string, hash [32]byte) (out *feed.Resource, err error) {
	err = s.begin(func() {
		if c, ok := s.codes[text]; ok && c == (code{app, host, state}) {
			out = s.world.Login("", time.Hour)
			out.GetSession().Hash, out.GetSession().App, out.GetSession().Host = hash[:], app, host
			s.live[hash] = out
		}
		delete(s.codes, text)
	})
	if err == nil && out == nil {
		return nil, grant.Deny(grant.LoginAgain, "this login took too long, or was used already")
	}
	return out, err
}

func (s *sessions) Lookup(_ context.Context, _ string, hash [32]byte) (out *feed.SessionResponse, err error) {
	err = s.begin(func() {
		s.asked++
		out = &feed.SessionResponse{Session: s.live[hash]}
	})
	if s.during != nil {
		s.during()
	}
	return out, err
}

func (s *sessions) End(_ context.Context, _ string, hash [32]byte) error {
	return s.begin(func() { delete(s.live, hash) })
}

func (s *sessions) keep(r *feed.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[[32]byte(r.GetSession().GetHash())] = r
}

func (s *sessions) lookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

var _ proxy.Sessions = (*sessions)(nil)

// newFront is a desk with the panel, a session of Alice's under secretA, and a
// grant of an hour to her.
func newFront(t testing.TB) (d *desk, session string, visits grant.GrantID) {
	t.Helper()
	d = newDesk(t)
	login := d.world.Login(secretA, 2*time.Hour)
	id, g := d.world.Visits(time.Hour)
	d.world.Add(proxytest.Panel(), login, g)
	return d, login.GetId(), id
}

// visit is how a browser asks for a page.
func visit(cookie string) ask {
	a := ask{
		door: "people", sni: "panel.acme.example", app: "panel", method: "GET", authority: "panel.acme.example", path: "/tickets/7?tab=a",
		headers: [][2]string{{"sec-fetch-mode", "navigate"}, {"sec-fetch-site", "none"}, {"accept", "text/html,*/*;q=0.8"}},
	}
	if cookie != "" {
		a.headers = append(a.headers, [2]string{"cookie", cookie})
	}
	return a
}

func signedIn() ask { return visit("__Host-mayfly=" + secretA) }

// having changes a header, or takes it out.
func having(name, value string) func(*ask) {
	return func(a *ask) {
		var out [][2]string
		for _, h := range a.headers {
			if h[0] != name {
				out = append(out, h)
			}
		}
		if value != "" {
			out = append(out, [2]string{name, value})
		}
		a.headers = out
	}
}

// browser keeps the cookies of one host, as a browser does.
type browser struct {
	*desk
	jar map[string]string
}

func (d *desk) browser() *browser { return &browser{d, map[string]string{}} }

func (b *browser) get(path string) verdict {
	b.t.Helper()
	a := visit("")
	a.path = path
	return b.send(a)
}

func (b *browser) send(a ask) verdict {
	b.t.Helper()
	var pairs []string
	for name, value := range b.jar {
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		a.headers = append(a.headers, [2]string{"cookie", strings.Join(pairs, "; ")})
	}
	v := b.check(a)
	for _, c := range v.cookies {
		pair, attributes, _ := strings.Cut(c, "; ")
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax") || strings.Contains(strings.ToLower(attributes), "domain") {
			b.t.Errorf("the cookie %s has the attributes %s", name, attributes)
		}
		if delete(b.jar, name); value != "" && !strings.Contains(attributes, "Max-Age=0") {
			b.jar[name] = value
		}
	}
	return v
}

// begin goes to a page without a session, and returns the state that the console
// is told.
func (b *browser) begin(path string) (state string) {
	b.t.Helper()
	v := b.get(path)
	to, err := url.Parse(v.header["location"])
	if err != nil || v.status != 302 || to.Scheme+"://"+to.Host+to.Path != proxytest.Console+"/login" {
		b.t.Fatalf("%+v, %v", v, err)
	}
	q := to.Query()
	if q.Get("app") != "panel" || q.Get("host") != "panel.acme.example" || len(q.Get("state")) != 43 || len(q) != 3 {
		b.t.Fatalf("the console is told %v", q)
	}
	return q.Get("state")
}

// console logs somebody in, and returns the code for the host.
func (d *desk) console(state string) string {
	d.sessions.mu.Lock()
	defer d.sessions.mu.Unlock()
	text := "code" + state[:20]
	d.sessions.codes[text] = code{"panel", "panel.acme.example", state}
	return text
}

func callback(code, state string) string {
	return "/.mayfly/callback?" + url.Values{"code": {code}, "state": {state}}.Encode()
}

func hashOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }
