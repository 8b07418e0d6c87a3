package proxy

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

const alice = "user:idp:3f1c"

func sessionOf(m *memory, hash byte, term time.Duration) *feed.Resource {
	id := grant.NewMinter().NewSessionID(m.machine.plane())
	return &feed.Resource{Id: id.String(), MinReader: 2, Resource: &feed.Resource_Session{Session: &feed.Session{
		Hash: hashed(hash), Principal: alice, Person: alice, Pseudonym: "p_1", App: "wiki", Host: "wiki.acme.example", EndsUs: m.machine.plane().Add(term).UnixMicro(),
	}}}
}

func hashed(b byte) []byte { return []byte(strings.Repeat(string(rune(b)), 32)) }

func (m *memory) sessionReason(hash byte) grant.Reason {
	h, ok := m.state.Load().seats.get([32]byte(hashed(hash)))
	if !ok {
		return "unknown"
	}
	return grant.ReasonOf(h.live(m.Now()))
}

// TestP2_NoSessionThatIsNotUnderstoodIsHeld changes one thing of a good session.
func TestP2_NoSessionThatIsNotUnderstoodIsHeld(t *testing.T) {
	for name, change := range map[string]func(*feed.Resource, *feed.Session){
		"no id":                  func(r *feed.Resource, _ *feed.Session) { r.Id = "" },
		"another kind of id":     func(r *feed.Resource, _ *feed.Session) { r.Id = "grt" + r.Id[3:] },
		"newer reader":           func(r *feed.Resource, _ *feed.Session) { r.MinReader = Reader + 1 },
		"short hash":             func(_ *feed.Resource, s *feed.Session) { s.Hash = s.Hash[1:] },
		"long hash":              func(_ *feed.Resource, s *feed.Session) { s.Hash = append(s.Hash, 1) },
		"no hash":                func(_ *feed.Resource, s *feed.Session) { s.Hash = nil },
		"empty hash":             func(_ *feed.Resource, s *feed.Session) { s.Hash = make([]byte, 32) },
		"a workload":             func(_ *feed.Resource, s *feed.Session) { s.Principal = refunder },
		"nobody":                 func(_ *feed.Resource, s *feed.Session) { s.Principal = "" },
		"no person":              func(_ *feed.Resource, s *feed.Session) { s.Person = "" },
		"a bad person":           func(_ *feed.Resource, s *feed.Session) { s.Person = "A B" },
		"no pseudonym":           func(_ *feed.Resource, s *feed.Session) { s.Pseudonym = "" },
		"a name for a pseudonym": func(_ *feed.Resource, s *feed.Session) { s.Pseudonym = alice },
		"no app":                 func(_ *feed.Resource, s *feed.Session) { s.App = "" },
		"no host":                func(_ *feed.Resource, s *feed.Session) { s.Host = "" },
		"host with port":         func(_ *feed.Resource, s *feed.Session) { s.Host += ":443" },
		"host in capitals":       func(_ *feed.Resource, s *feed.Session) { s.Host = "Wiki.acme.example" },
		"no end":                 func(_ *feed.Resource, s *feed.Session) { s.EndsUs = 0 },
		"an end before all":      func(_ *feed.Resource, s *feed.Session) { s.EndsUs = -1 },
		"longer than a day":      func(_ *feed.Resource, s *feed.Session) { s.EndsUs += (23*time.Hour + time.Second).Microseconds() },
		"a group without source": func(_ *feed.Resource, s *feed.Session) { s.Groups = []string{"idp/x"} },
		"too many groups":        func(_ *feed.Resource, s *feed.Session) { s.Groups = make([]string, maxGroups+1) },
		"an unknown fact":        func(_ *feed.Resource, s *feed.Session) { s.Facts = map[string]string{"phone": "1"} },
		"an empty fact":          func(_ *feed.Resource, s *feed.Session) { s.Facts = map[string]string{"name": ""} },
		"a long fact": func(_ *feed.Resource, s *feed.Session) {
			s.Facts = map[string]string{"name": strings.Repeat("a", maxFact+1)}
		},
		"a long acr":         func(_ *feed.Resource, s *feed.Session) { s.Acr = strings.Repeat("a", maxFact+1) },
		"a login before all": func(_ *feed.Resource, s *feed.Session) { s.AuthTimeUs = -1 },
	} {
		m := newMemory(t)
		m.swap()
		m.pong(m.machine.plane())
		good := sessionOf(m, 'a', time.Hour)
		if nacks := m.add(good); len(nacks) != 0 || m.sessionReason('a') != "" {
			t.Fatal(nacks)
		}
		bad := sessionOf(m, 'b', time.Hour)
		bad.Id = good.Id
		change(bad, bad.GetSession())
		nacks := m.add(bad)
		if len(nacks) != 1 || nacks[0].GetKind() != feed.KindSession || nacks[0].GetReason() != string(grant.UnsupportedGrant) {
			t.Errorf("%s: %v", name, nacks)
		}
		if r := m.sessionReason('b'); r != "unknown" {
			t.Errorf("%s: held, %q", name, r)
		}
		if r := m.sessionReason('a'); bad.Id == good.Id && r != grant.SessionEnded {
			t.Errorf("%s: what it should take the place of is %q", name, r)
		}
	}
}

// TestP1_NoSessionLongerThanTheCompiledCapIsUsed takes one in before the time is
// known.
func TestP1_NoSessionLongerThanTheCompiledCapIsUsed(t *testing.T) {
	m := newMemory(t)
	m.swap(sessionOf(m, 'a', 24*time.Hour+time.Second), sessionOf(m, 'b', 24*time.Hour))
	if m.sessionReason('b') != grant.SessionEnded {
		t.Error("a session is live at no time at all")
	}
	m.pong(m.machine.plane())
	if m.sessionReason('a') != grant.SessionEnded || m.sessionReason('b') != "" {
		t.Errorf("%q, %q", m.sessionReason('a'), m.sessionReason('b'))
	}
}

func TestAHashIsOneSessionsOnly(t *testing.T) {
	m := newMemory(t)
	m.swap()
	m.pong(m.machine.plane())
	first, second := sessionOf(m, 'a', time.Hour), sessionOf(m, 'a', time.Hour)
	if nacks := m.add(first); len(nacks) != 0 {
		t.Fatal(nacks)
	}
	if nacks := m.add(second); len(nacks) != 1 || m.Status().People != 1 {
		t.Errorf("%v, %+v", nacks, m.Status())
	}
	m.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindSession, Id: first.Id, Reason: "session_ended"}}})
	if nacks := m.add(second); len(nacks) != 1 || m.sessionReason('a') != grant.SessionEnded {
		t.Errorf("the hash of an ended session lives again: %v", nacks)
	}
}

// TestWhatIsRememberedOfEndedSessions is bounded, in number and time, and holds
// nothing personal.
func TestWhatIsRememberedOfEndedSessions(t *testing.T) {
	m := newMemory(t)
	one := sessionOf(m, 'a', time.Hour)
	one.GetSession().Facts = map[string]string{"name": "Alice"}
	m.swap(one)
	m.pong(m.machine.plane())
	m.swap()
	h, ok := m.state.Load().seats.get([32]byte(hashed('a')))
	if !ok || !h.past || h.session.Name != "" || !h.session.Principal.IsZero() || m.Status().People != 0 {
		t.Fatalf("%+v", h)
	}
	m.swap()
	if m.sessionReason('a') != grant.SessionEnded {
		t.Error("a second snapshot forgot it")
	}
	ids := grant.NewMinter()
	for n := range maxPast + 10 {
		r := sessionOf(m, 'b', time.Hour)
		r.Id = ids.NewSessionID(noon()).String()
		r.GetSession().Hash = append([]byte{byte(n), byte(n >> 8)}, hashed('c')[2:]...)
		m.add(r)
		m.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindSession, Id: r.Id, Reason: "session_ended"}}})
	}
	if s := m.state.Load(); s.seats.size != maxPast || s.seatOf.size != maxPast || s.seated != 0 || len(m.left) != maxPast {
		t.Errorf("%d and %d are remembered", s.seats.size, len(m.left))
	}
	m.machine.pass(keepPast)
	m.pong(m.machine.plane())
	m.delta(&feed.Delta{})
	if s := m.state.Load(); s.seats.size != 0 || len(m.left) != 0 {
		t.Errorf("%d are remembered for ever", s.seats.size)
	}
}

func TestAppsSayWhomTheyTake(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*feed.App)
		good   bool
	}{
		"as told":             {func(*feed.App) {}, true},
		"no console":          {func(a *feed.App) { a.Console = "" }, false},
		"console without TLS": {func(a *feed.App) { a.Console = "http://mayfly.acme.example" }, false},
		"console with a path": {func(a *feed.App) { a.Console += "/x" }, false},
		"console with query":  {func(a *feed.App) { a.Console += "?x" }, false},
		"console of a user":   {func(a *feed.App) { a.Console = "https://a@mayfly.acme.example" }, false},
		"console with a port": {func(a *feed.App) { a.Console += ":8443" }, true},
		"unknown callers":     {func(a *feed.App) { a.Callers = append(a.Callers, "strangers") }, false},
		"a credential":        {func(a *feed.App) { a.Credentials = []*feed.Credential{{Operations: []string{"http.get"}, Secret: "x"}} }, false},
		"services only":       {func(a *feed.App) { a.Callers, a.Identity = []string{"services"}, nil }, true},
		"told of nobody":      {func(a *feed.App) { a.Callers = []string{"services"} }, false},
		"none told":           {func(a *feed.App) { a.Callers, a.Identity = nil, nil }, true},
		"our header":          {func(a *feed.App) { a.Identity[0].Header = "x-mayfly-action" }, false},
		"Envoy's header":      {func(a *feed.App) { a.Identity[0].Header = "x-envoy-original-path" }, false},
		"a proxy's header":    {func(a *feed.App) { a.Identity[0].Header = "x-forwarded-for" }, false},
		"the cookie":          {func(a *feed.App) { a.Identity[0].Header = "cookie" }, false},
		"the host":            {func(a *feed.App) { a.Identity[0].Header = ":authority" }, false},
		"capitals":            {func(a *feed.App) { a.Identity[0].Header = "X-Auth" }, false},
		"an underscore":       {func(a *feed.App) { a.Identity[0].Header = "x-auth_name" }, false},
		"a line":              {func(a *feed.App) { a.Identity[0].Header = "x-a\r\nb" }, false},
		"a long header":       {func(a *feed.App) { a.Identity[0].Header = "x-" + strings.Repeat("a", 64) }, false},
		"twice":               {func(a *feed.App) { a.Identity = append(a.Identity, a.Identity[0]) }, false},
		"an unknown fact":     {func(a *feed.App) { a.Identity[0].Fact = "phone" }, false},
	} {
		app := &feed.App{
			Name: "wiki", Kind: "web", Hosts: []string{"wiki.acme.example"}, Upstream: "http://127.0.0.1:1", StaleAfterUs: (15 * time.Second).Microseconds(),
			Callers: []string{"people"}, Console: "https://mayfly.acme.example", Identity: []*feed.IdentityHeader{{Header: "x-auth-name", Fact: "name"}},
		}
		c.change(app)
		_, err := newApp(&feed.Resource{Id: "wiki", Resource: &feed.Resource_App{App: app}})
		if (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsArePrintedNowhere(t *testing.T) {
	s := newSecret()
	if len(s.text) != secretLength || strings.Contains(s.String()+s.GoString(), s.text) {
		t.Error(s)
	}
}

// FuzzCookies holds that nothing of ours is left for the app, that nothing else is
// lost, and that what is left is read as it was before.
func FuzzCookies(f *testing.F) {
	for _, seed := range []string{"", "a=b", "__Host-mayfly=x; a=b", "a=b;__HOST-mayfly-login=x ;;c", " = ; =;\t__Host-mayfly\t=\t1", "__Host-mayfly=1;__Host-mayfly=2"} {
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		c, twice := readCookies([]string{one, two})
		if twice != nil {
			return
		}
		for part := range strings.SplitSeq(c.rest, ";") {
			name, _, _ := strings.Cut(strings.Trim(part, " \t"), "=")
			if ourCookie(strings.TrimRight(name, " \t")) {
				t.Fatalf("%q is left of %q, %q", c.rest, one, two)
			}
		}
		again, twice := readCookies([]string{c.rest})
		if twice != nil || again.rest != c.rest || again.found || again.login != "" {
			t.Fatalf("%q is read as %+v", c.rest, again)
		}
		if c.found && !strings.Contains(one+";"+two, cookieSession) {
			t.Fatalf("a session out of nothing: %q, %q", one, two)
		}
	})
}

// FuzzReturn holds that a browser that is sent to the result stays on the host, and
// off our own pages.
func FuzzReturn(f *testing.F) {
	for _, seed := range []string{"/", "/a?b=c", "//evil.example", "/\\evil.example", "/.mayfly/x", "/a/../..//b", "/%2e%2e/b", "javascript:x", "/\r\nx"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://panel.acme.example/x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		back := safeReturn(path)
		to, err := base.Parse(back)
		if err != nil || to.Scheme != "https" || to.Host != base.Host || back[0] != '/' || len(back) > 1 && (back[1] == '/' || back[1] == '\\') || ownPath(to.Path) {
			t.Fatalf("%q leads to %v (%v)", path, to, err)
		}
		if strings.ContainsAny(back, "\r\n\t \x00") || len(back) > maxReturn {
			t.Fatalf("%q is written as %q", path, back)
		}
		e := newEntry(path)
		if e.back() != back || len(readEntries(string(e))) != 1 && len(e) <= maxLogin {
			t.Fatalf("%q comes back as %q", path, e.back())
		}
		if _, err := base64.RawURLEncoding.DecodeString(e.state()); err != nil {
			t.Fatal(err)
		}
	})
}
