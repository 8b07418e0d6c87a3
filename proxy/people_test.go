package proxy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

func TestAPersonIsLetThroughByCookieAndGrant(t *testing.T) {
	d, session, visits := newFront(t)
	v := d.check(signedIn())
	if !v.allowed || len(d.journal.Intents()) != 1 {
		t.Fatalf("%+v", v)
	}
	i := d.journal.Intents()[0]
	if i.Principal != "p_alice" || i.Grant != visits.String() || i.App != "panel" || !i.Ask.Certificate.IsZero() || i.Ask.Session != session ||
		!i.Deadline.Equal(d.world.Now().Add(10*time.Second)) {
		t.Fatalf("%+v", i)
	}
	want := map[string]string{
		"x-mayfly-action": i.Action, "grpc-timeout": "10000m", "x-auth-account": proxytest.Alice, "x-auth-email": "alice@acme.example",
		"x-auth-groups": "idp/support,idp/on-call", "x-auth-name": "Alice %C3%84hre", "x-auth-person": "alice",
	}
	for name, value := range want {
		if v.header[name] != value {
			t.Errorf("%s: %q, want %q", name, v.header[name], value)
		}
	}
	if len(v.header) != len(want) || !slices.Equal(v.removed, []string{"cookie"}) {
		t.Errorf("%v, without %v", v.header, v.removed)
	}
	if d.sessions.lookups() != 0 {
		t.Error("a session that is held was looked up")
	}
}

// TestP2_OneDoorsProofIsNothingAtTheOther sends each door the other's proof.
func TestP2_OneDoorsProofIsNothingAtTheOther(t *testing.T) {
	d, _, _ := newFront(t)
	_, r := d.world.Visits(time.Hour)
	r.GetGrant().Principal, r.GetGrant().Pseudonym = proxytest.Refunder, "p_1"
	d.world.Add(r)
	for _, c := range []struct {
		name   string
		ask    ask
		reason grant.Reason
	}{
		{"a cookie at the services door", signedIn().with(func(a *ask) { a.door = "services" }), grant.NoIdentity},
		{"a certificate at the people door", visit("").with(func(a *ask) { a.certificate = d.certificate(proxytest.Refunder) }), grant.NoIdentity},
		{"no door", signedIn().with(func(a *ask) { a.door = "none" }), grant.Internal},
		{"a door in capitals", signedIn().with(func(a *ask) { a.door = "People" }), grant.Internal},
		{"the door in a header", signedIn().with(func(a *ask) { a.door = "services" }).with(having("door", "people")), grant.NoIdentity},
	} {
		v := d.check(c.ask)
		if v.allowed || v.reason != c.reason || len(d.journal.Denials()) != 0 || d.journal.Counted(c.reason) == 0 {
			t.Errorf("%s: %+v, want %s", c.name, v, c.reason)
		}
	}
	service := ask{certificate: d.certificate(proxytest.Refunder), sni: "panel.acme.example", app: "panel", method: "GET", authority: "panel.acme.example", path: "/"}
	if v := d.check(service); !v.allowed || v.header["x-auth-account"] != "" || len(v.removed) != 0 { // Envoy would refuse another answer
		t.Errorf("a service at an app of both doors: %+v", v)
	}
	// A stolen cookie that a service sends does not reach the app.
	v := d.check(service.with(having("cookie", "a=b; __Host-mayfly="+secretA+"; __host-MAYFLY-x=1")))
	if !v.allowed || v.header["cookie"] != "a=b" || len(v.removed) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestAnAppAnswersOnlyAtTheDoorsThatItLists(t *testing.T) {
	d, _, _ := newFront(t)
	people := proxytest.Panel()
	people.GetApp().Callers = []string{"people"}
	d.world.Add(people)
	service := ask{certificate: d.certificate(proxytest.Refunder), sni: "panel.acme.example", app: "panel", method: "GET", authority: "panel.acme.example", path: "/"}
	if v := d.check(service); v.reason != grant.UnknownApp || v.status != 404 {
		t.Errorf("a service at an app of people: %+v", v)
	}
	wiki := visit("").with(func(a *ask) { a.sni, a.authority, a.app = "wiki.acme.example", "wiki.acme.example", "wiki" })
	if v := d.check(wiki); v.reason != grant.UnknownApp || v.status != 404 || v.header["location"] != "" {
		t.Errorf("a person at an app of services: %+v", v)
	}
}

// TestWhoIsNotLoggedInIsSentToLogIn tells browsers that show pages from everything
// else: only those are sent away.
func TestWhoIsNotLoggedInIsSentToLogIn(t *testing.T) {
	for _, c := range []struct {
		name   string
		cookie string
		change func(*ask)
		status int
		reason grant.Reason
	}{
		{"a page", "", func(*ask) {}, 302, grant.NoIdentity},
		{"the head of a page", "", func(a *ask) { a.method = "HEAD" }, 302, grant.NoIdentity},
		{"an old browser", "", having("sec-fetch-mode", ""), 302, grant.NoIdentity},
		{"other cookies", "a=b", func(*ask) {}, 302, grant.NoIdentity},
		{"a cookie that nobody made", "__Host-mayfly=x", func(*ask) {}, 302, grant.SessionEnded},
		{"an empty cookie", "__Host-mayfly=", func(*ask) {}, 302, grant.SessionEnded},
		{"an unknown session", "__Host-mayfly=" + secretB, func(*ask) {}, 302, grant.SessionEnded},
		{"the name in small letters", "__host-mayfly=" + secretA, func(*ask) {}, 302, grant.NoIdentity},
		{"another cookie of ours", "__Host-mayfly-login=" + secretA, func(*ask) {}, 302, grant.NoIdentity},
		{"two", "__Host-mayfly=" + secretA + "; __Host-mayfly=" + secretB, func(*ask) {}, 400, grant.ConflictingHeaders},
		{"two that are the same", "__Host-mayfly=" + secretA + ";__Host-mayfly=" + secretA, func(*ask) {}, 400, grant.ConflictingHeaders},
		{"two headers", "__Host-mayfly=" + secretA, func(a *ask) { a.headers = append(a.headers, [2]string{"cookie", "__Host-mayfly=" + secretB}) }, 400, grant.ConflictingHeaders},
		{"a script", "", having("sec-fetch-mode", "cors"), 401, grant.NoIdentity},
		{"an image", "", having("sec-fetch-mode", "no-cors"), 401, grant.NoIdentity},
		{"a script of an old browser", "", func(a *ask) { having("sec-fetch-mode", "")(a); having("accept", "application/json")(a) }, 401, grant.NoIdentity},
		{"an old library", "", func(a *ask) { having("sec-fetch-mode", "")(a); having("x-requested-with", "XMLHttpRequest")(a) }, 401, grant.NoIdentity},
		{"HTML refused", "", func(a *ask) { having("sec-fetch-mode", "")(a); having("accept", "*/*, text/html; q=0")(a) }, 401, grant.NoIdentity},
		{"a websocket", "", having("upgrade", "websocket"), 401, grant.NoIdentity},
		{"a form", "", func(a *ask) { a.method = "POST"; having("sec-fetch-site", "same-origin")(a) }, 401, grant.NoIdentity},
		{"a preflight", "", func(a *ask) { a.method = "OPTIONS"; having("sec-fetch-mode", "cors")(a) }, 401, grant.NoIdentity},
		{"no app", "", func(a *ask) { a.app = "" }, 404, grant.UnknownApp},
		{"an unknown host", "", func(a *ask) { a.sni, a.authority = "x.acme.example", "x.acme.example" }, 404, grant.UnknownApp},
		{"another host's name in TLS", "", func(a *ask) { a.sni = "board.acme.example" }, 421, grant.ConflictingHeaders},
		{"without headers", "", func(a *ask) { a.noHeaders = true }, 400, grant.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _, _ := newFront(t)
			v := d.check(visit(c.cookie).with(c.change))
			if v.allowed || v.status != c.status || v.reason != c.reason || v.header["mayfly-reason"] != string(c.reason) || v.header["cache-control"] != "no-store" {
				t.Fatalf("%+v, want %d %s", v, c.status, c.reason)
			}
			if (v.status == 302) != (v.header["location"] != "") || (v.status == 302) != (len(v.cookies) == 1) {
				t.Errorf("%+v", v)
			}
			if c.name == "a form" { // a person looks at the answer
				if !strings.Contains(v.body, `<a class="act" href="/">Log in</a>`) || v.header["content-type"] != "text/html; charset=utf-8" {
					t.Errorf("%s", v.body)
				}
			} else if v.status == 401 && v.problem(t)["code"] != string(c.reason) {
				t.Errorf("%s", v.body)
			}
			if d.journal.Counted(c.reason) != 1 || len(d.journal.Denials())+len(d.journal.Intents()) != 0 || strings.Contains(v.body, "panel/use") || strings.Contains(v.body, "alice") {
				t.Errorf("whoever proved nothing is on record, or learns something: %s", v.body)
			}
		})
	}
}

// TestP4_ASessionThatIsOverLetsNothingThrough ends sessions in every way, before the
// request and while it is decided.
func TestP4_ASessionThatIsOverLetsNothingThrough(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(d *desk, session string)
		reason grant.Reason
	}{
		"ended":                  {func(d *desk, id string) { d.world.Leave(id, grant.SessionEnded) }, grant.SessionEnded},
		"for a reason not known": {func(d *desk, id string) { d.world.Leave(id, "tired") }, grant.SessionEnded},
		"locked":                 {func(d *desk, id string) { d.world.Leave(id, grant.Locked) }, grant.Locked},
		"not in a snapshot": {func(d *desk, _ string) {
			_, g := d.world.Visits(time.Hour)
			d.world.Anew(proxytest.Panel(), g)
		}, grant.SessionEnded},
		"its own end, in silence": {func(d *desk, id string) {
			soon := d.world.Login(secretA, 10*time.Second)
			soon.Id = id
			d.world.Add(soon)
			d.world.Pass(10 * time.Second)
		}, grant.SessionEnded},
		"another person's now": {func(d *desk, id string) {
			other := d.world.Login(secretB, time.Hour)
			other.Id = id
			d.world.Add(other)
		}, grant.SessionEnded},
	} {
		t.Run(name+" before", func(t *testing.T) {
			d, session, _ := newFront(t)
			c.end(d, session)
			if v := d.check(signedIn()); v.allowed || v.reason != c.reason || (v.status == 302) != (c.reason == grant.SessionEnded) {
				t.Fatalf("%+v", v)
			}
			if d.journal.Counted(c.reason) != 1 {
				t.Error("not counted")
			}
		})
		for where, failing := range map[string]error{"the fsync": nil, "a failing fsync": errors.New("late")} {
			t.Run(name+" in "+where, func(t *testing.T) {
				d, session, _ := newFront(t)
				d.journal.BeforeIntent = func(context.Context) error { c.end(d, session); return failing }
				v := d.check(signedIn().with(having("sec-fetch-mode", "cors")))
				if name == "not in a snapshot" && v.reason == grant.NoGrant {
					return // the grant of before went with it
				}
				if v.allowed || v.reason != c.reason {
					t.Fatalf("%+v", v)
				}
				if unknown, never := d.actions.Overdue(proxytest.Noon().Add(24 * time.Hour)); len(unknown)+len(never) != 0 {
					t.Error("the action is still there")
				}
				if n := len(d.journal.Denials()); n != 1 || d.journal.Denials()[0].Principal != "p_alice" {
					t.Errorf("denials %+v", d.journal.Denials())
				}
			})
		}
	}
}

// TestP4_ARemovalOfASessionIsAcknowledgedLast holds an allowed request between its
// last look and its answer: the removal waits for it, and tells of it.
func TestP4_ARemovalOfASessionIsAcknowledgedLast(t *testing.T) {
	d, session, visits := newFront(t)
	section := d.world.Enter()
	acked := make(chan feed.Receipt, 1)
	v := d.check(signedIn())
	go func() {
		at, _ := d.world.Position()
		r, _, err := d.world.Apply(context.Background(), &feed.Delta{Epoch: at.Epoch, Revision: at.Revision + 2, Removals: []*feed.Removal{{
			Kind: feed.KindSession, Id: session, Reason: string(grant.SessionEnded),
		}}})
		if err != nil {
			t.Error(err)
		}
		acked <- r
	}()
	for d.check(signedIn()).allowed { // until the change is visible
	}
	select {
	case <-acked:
		t.Fatal("acknowledged while an answer is on its way")
	default:
	}
	section.Leave()
	r := <-acked
	if r.LastAction == "" || !r.LastAllowed.Equal(d.world.Now()) || r.Bounded.IsZero() || !v.allowed {
		t.Errorf("receipt %+v", r)
	}
	if d.world.Look(visits, d.world.Now()) != nil {
		t.Error("the grant went with the session")
	}
}

func TestP3_TheDeadlineIsTheSessionsEnd(t *testing.T) {
	d, session, _ := newFront(t)
	soon := d.world.Login(secretA, 3*time.Second)
	soon.Id = session
	d.world.Add(soon)
	if v := d.check(signedIn()); v.header["grpc-timeout"] != "3000m" {
		t.Errorf("%+v", v)
	}
	d.journal.BeforeIntent = func(context.Context) error { d.world.Pass(3 * time.Second); return nil }
	if v := d.check(signedIn()); v.allowed || v.reason != grant.SessionEnded {
		t.Errorf("a session that ended while the disk was waited for: %+v", v)
	}
}

func TestP2_ASessionOfAnotherHostIsNone(t *testing.T) {
	d, _, _ := newFront(t)
	other := visit("__Host-mayfly=" + secretA).with(func(a *ask) { a.sni, a.authority = "board.acme.example", "board.acme.example" })
	if v := d.check(other); v.allowed || v.reason != grant.SessionEnded || !strings.Contains(v.header["location"], "host=board.acme.example") {
		t.Errorf("another host of the same app: %+v", v)
	}
	second := proxytest.Panel()
	second.Id, second.GetApp().Name, second.GetApp().Hosts = "desk", "desk", []string{"desk.acme.example"}
	d.world.Add(second)
	stolen := d.world.Login(secretB, time.Hour)
	stolen.GetSession().Host = "desk.acme.example" // whose app is another
	d.world.Add(stolen)
	v := d.check(visit("__Host-mayfly=" + secretB).with(func(a *ask) { a.app, a.sni, a.authority = "desk", "desk.acme.example", "desk.acme.example" }))
	if v.allowed || v.reason != grant.SessionEnded {
		t.Errorf("a session of another app: %+v", v)
	}
	// The same holds for what a look-up tells.
	elsewhere := d.world.Login("CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA", time.Hour)
	elsewhere.GetSession().Host = "board.acme.example"
	d.sessions.keep(elsewhere)
	if v := d.check(visit("__Host-mayfly=CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA")); v.allowed || v.reason != grant.SessionEnded {
		t.Errorf("by a look-up: %+v", v)
	}
}

func TestALookUpCountsOnce(t *testing.T) {
	d, _, _ := newFront(t)
	fresh := d.world.Login(secretB, time.Hour)
	d.sessions.keep(fresh)
	for n := range 2 {
		if v := d.check(visit("__Host-mayfly=" + secretB)); !v.allowed || d.sessions.lookups() != n+1 {
			t.Fatalf("%+v after %d look-ups", v, d.sessions.lookups())
		}
	}
	d.world.Add(fresh)
	if v := d.check(visit("__Host-mayfly=" + secretB)); !v.allowed || d.sessions.lookups() != 2 {
		t.Errorf("a session that came by the feed was looked up: %+v", v)
	}
}

// TestP4_ALookUpDoesNotOutliveTheSession ends sessions of which the table knows
// nothing while the decision about them is under way.
func TestP4_ALookUpDoesNotOutliveTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(d *desk, r *feed.Resource)
		reason grant.Reason
	}{
		"removed, never held":   {func(d *desk, r *feed.Resource) { d.world.Leave(r.GetId(), grant.SessionEnded) }, grant.Stale},
		"came and went":         {func(d *desk, r *feed.Resource) { d.world.Add(r); d.world.Leave(r.GetId(), grant.Locked) }, grant.Locked},
		"a snapshot without it": {func(d *desk, _ *feed.Resource) { _, g := d.world.Visits(time.Hour); d.world.Anew(proxytest.Panel(), g) }, grant.Stale},
		"its time":              {func(d *desk, _ *feed.Resource) { d.world.Pass(5 * time.Second) }, grant.SessionEnded},
		"nothing":               {func(*desk, *feed.Resource) {}, ""},
		"came in the meantime":  {func(d *desk, r *feed.Resource) { d.world.Add(r) }, ""},
		"another one under it":  {func(d *desk, r *feed.Resource) { o := d.world.Login(secretB, time.Hour); d.world.Add(o) }, grant.SessionEnded},
	} {
		for _, where := range []string{"look-up", "fsync"} {
			t.Run(name+" in the "+where, func(t *testing.T) {
				d, _, _ := newFront(t)
				r := d.world.Login(secretB, 5*time.Second)
				d.sessions.keep(r)
				if where == "look-up" {
					d.sessions.during = func() { c.end(d, r) }
				} else {
					d.journal.BeforeIntent = func(context.Context) error { c.end(d, r); return nil }
				}
				v := d.check(visit("__Host-mayfly=" + secretB).with(having("sec-fetch-mode", "cors")))
				if name == "a snapshot without it" && where == "fsync" && v.reason == grant.NoGrant {
					return // the grant of before is gone too
				}
				if v.reason != c.reason || v.allowed != (c.reason == "") {
					t.Fatalf("%+v, want %q", v, c.reason)
				}
			})
		}
	}
}

func TestWhatALookUpTellsIsReadStrictly(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*feed.Resource)
		reason grant.Reason
	}{
		"another's hash":    {func(r *feed.Resource) { h := hashOf("other"); r.GetSession().Hash = h[:] }, grant.Internal},
		"a newer reader":    {func(r *feed.Resource) { r.MinReader = proxy.Reader + 1 }, grant.UnsupportedGrant},
		"a workload's":      {func(r *feed.Resource) { r.GetSession().Principal = proxytest.Refunder }, grant.UnsupportedGrant},
		"without end":       {func(r *feed.Resource) { r.GetSession().EndsUs = 0 }, grant.UnsupportedGrant},
		"too long":          {func(r *feed.Resource) { r.GetSession().EndsUs += (48 * time.Hour).Microseconds() }, grant.UnsupportedGrant},
		"over":              {func(r *feed.Resource) { r.GetSession().EndsUs -= (2 * time.Hour).Microseconds() }, grant.SessionEnded},
		"no session at all": {func(r *feed.Resource) { r.Resource = proxytest.Panel().Resource }, grant.UnsupportedGrant},
	} {
		d, _, _ := newFront(t)
		r := d.world.Login(secretB, time.Hour)
		d.sessions.keep(r)
		c.change(r)
		if v := d.check(visit("__Host-mayfly=" + secretB)); v.allowed || v.reason != c.reason {
			t.Errorf("%s: %+v, want %s", name, v, c.reason)
		}
	}
}

// TestSessionsThatNobodyHasAreAskedAboutOnceAndNotTooOften floods the door with
// made-up cookies.
func TestSessionsThatNobodyHasAreAskedAboutOnceAndNotTooOften(t *testing.T) {
	d, _, _ := newFront(t)
	for range 100 {
		if v := d.check(visit("__Host-mayfly=" + secretB)); v.reason != grant.SessionEnded {
			t.Fatalf("%+v", v)
		}
	}
	if n := d.sessions.lookups(); n != 1 {
		t.Errorf("the same cookie was asked about %d times", n)
	}
	limited := 0
	for n := range 200 {
		text := secretB[:40] + string([]byte{'a' + byte(n/26%26), 'a' + byte(n%26)}) + "A"
		switch v := d.check(visit("__Host-mayfly=" + text)); {
		case v.reason == grant.RateLimited && v.status == 429:
			limited++
		case v.reason != grant.SessionEnded:
			t.Fatalf("%+v", v)
		}
	}
	if n := d.sessions.lookups(); n != 60 || limited != 200-59 {
		t.Errorf("%d look-ups, %d refused", n, limited)
	}
	if v := d.check(signedIn()); !v.allowed {
		t.Errorf("the flood keeps out who is logged in: %+v", v)
	}
	d.world.Pass(time.Second)
	fresh := d.world.Login("DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA", time.Hour)
	d.sessions.keep(fresh)
	if v := d.check(visit("__Host-mayfly=DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA")); !v.allowed {
		t.Errorf("a second later: %+v", v)
	}
}

func TestASilentControlPlaneIsNoReasonToLogIn(t *testing.T) {
	d, _, _ := newFront(t)
	d.sessions.silent = true
	if v := d.check(visit("__Host-mayfly=" + secretB)); v.status != 503 || v.reason != grant.Stale || v.header["location"] != "" || len(v.cookies) != 0 {
		t.Errorf("%+v", v)
	}
	if v := d.check(signedIn()); !v.allowed {
		t.Errorf("who is known: %+v", v)
	}
	d.world.Pass(15 * time.Second)
	for _, a := range []ask{signedIn(), visit("")} {
		if v := d.check(a); v.status != 503 || v.reason != grant.Stale || v.header["location"] != "" {
			t.Errorf("stale: %+v", v)
		}
	}
}

// TestOtherSitesChangeNothing sends what pages of other sites, and of sibling
// hosts, can make a browser send.
func TestOtherSitesChangeNothing(t *testing.T) {
	const own = "https://panel.acme.example"
	for _, c := range []struct {
		name, site, origin string
		allowed            bool
	}{
		{"own page", "same-origin", own, true},
		{"own page without Origin", "same-origin", "", true},
		{"by hand", "none", "", true},
		{"own page of an old browser", "", own, true},
		{"own page, capitals", "", "https://PANEL.acme.example", true},
		{"another site", "cross-site", "https://evil.example", false},
		{"another site that claims our origin", "cross-site", own, false},
		{"a sibling host", "same-site", "https://blog.acme.example", false},
		{"a sibling host that claims our origin", "same-site", own, false},
		{"a word that nobody knows", "same-origin-ish", own, false},
		{"two words", "same-origin, cross-site", own, false},
		{"old browser, another site", "", "https://evil.example", false},
		{"old browser, sibling host", "", "https://blog.acme.example", false},
		{"old browser, null", "", "null", false},
		{"old browser, http", "", "http://panel.acme.example", false},
		{"old browser, another port", "", own + ":8443", false},
		{"old browser, longer host", "", own + ".evil.example", false},
		{"old browser, with a path", "", own + "/", false},
		{"nothing said", "", "", false},
	} {
		d, _, _ := newFront(t)
		for _, method := range []string{"POST", "DELETE", "PUT", "PATCH", "EAT"} {
			a := signedIn().with(func(a *ask) { a.method = method }).with(having("sec-fetch-site", c.site)).with(having("origin", c.origin))
			v := d.check(a)
			if (v.reason == grant.CrossSite) == c.allowed || method == "POST" && v.allowed != c.allowed {
				t.Errorf("%s %s: %+v", c.name, method, v)
			}
			if !c.allowed && v.status != 403 {
				t.Errorf("%s %s: %d", c.name, method, v.status)
			}
		}
		if v := d.check(signedIn().with(having("sec-fetch-site", c.site)).with(having("origin", c.origin))); !v.allowed {
			t.Errorf("%s: a link does not work: %+v", c.name, v)
		}
		socket := signedIn().with(having("sec-fetch-site", c.site)).with(having("origin", c.origin)).with(having("upgrade", "websocket"))
		if v := d.check(socket); (v.reason == grant.CrossSite) == c.allowed || v.allowed { // none is granted
			t.Errorf("%s: a WebSocket: %+v", c.name, v)
		}
	}
	d, _, _ := newFront(t)
	port := signedIn().with(func(a *ask) { a.method, a.authority = "POST", "panel.acme.example:8443" }).with(having("sec-fetch-site", ""))
	if v := d.check(port.with(having("origin", own+":8443"))); !v.allowed {
		t.Errorf("own page on another port: %+v", v)
	}
	if v := d.check(port.with(having("origin", own))); v.reason != grant.CrossSite {
		t.Errorf("another port of the same host: %+v", v)
	}
	twice := signedIn().with(func(a *ask) {
		a.method = "POST"
		a.headers = append(a.headers, [2]string{"sec-fetch-site", "same-origin"})
	})
	if v := d.check(twice); v.reason != grant.CrossSite {
		t.Errorf("the header twice: %+v", v)
	}
}

// TestTheAppLearnsWhatItMayOfThePerson sends forged identity headers and cookies.
func TestTheAppLearnsWhatItMayOfThePerson(t *testing.T) {
	d, session, _ := newFront(t)
	forged := signedIn()
	for _, name := range []string{"x-auth-account", "x-auth-email", "x-auth-groups", "x-auth-name", "x-auth-person"} {
		forged.headers = append(forged.headers, [2]string{name, "root"})
	}
	if v := d.check(forged); !v.allowed || v.header["x-auth-account"] != proxytest.Alice || v.header["x-auth-groups"] != "idp/support,idp/on-call" {
		t.Errorf("%+v", v)
	}
	bare := d.world.Login(secretA, time.Hour)
	bare.Id, bare.GetSession().Facts, bare.GetSession().Groups, bare.GetSession().Person = session, nil, nil, proxytest.Alice
	d.world.Add(bare)
	v := d.check(forged)
	if !v.allowed || !slices.Equal(v.removed, []string{"cookie", "x-auth-email", "x-auth-groups", "x-auth-name"}) || v.header["x-auth-person"] != proxytest.Alice {
		t.Errorf("absent facts: %+v", v)
	}
	odd := d.world.Login(secretA, time.Hour)
	odd.Id = session
	odd.GetSession().Facts["name"] = " Al\r\nx-evil: 1% "
	odd.GetSession().Groups = []string{"group:idp/a,b", "group:idp/a%b", "group:idp/" + strings.Repeat("g", 200)}
	for range 30 {
		odd.GetSession().Groups = append(odd.GetSession().Groups, "group:idp/"+strings.Repeat("h", 200))
	}
	d.world.Add(odd)
	v = d.check(forged)
	if !v.allowed || v.header["x-auth-name"] != "%20Al%0D%0Ax-evil: 1%25%20" {
		t.Errorf("%+v", v)
	}
	groups := v.header["x-auth-groups"]
	if !strings.HasPrefix(groups, "idp/a%25b,idp/ggg") || strings.Contains(groups, "a,b") || len(groups) > 4096 || len(groups) < 3500 || strings.HasSuffix(groups, ",") {
		t.Errorf("groups %q (%d)", groups, len(groups))
	}
}

// TestNoCookieOfOursReachesTheApp is the table of what is cut.
func TestNoCookieOfOursReachesTheApp(t *testing.T) {
	const ours = "__Host-mayfly=" + secretA
	for sent, want := range map[string]string{
		ours:                                   "",
		"a=b; " + ours:                         "a=b",
		ours + "; a=b":                         "a=b",
		ours + ";a=b;;":                        "a=b",
		"a=b;" + ours + " ;c=d":                "a=b; c=d",
		"a=b; " + ours + "; a=c; A=\"x y\"":    "a=b; a=c; A=\"x y\"",
		ours + "; __host-mayfly=2":             "",
		ours + "; __HOST-MAYFLY-login=2; x":    "x",
		ours + "; __Host-mayflyx=1; y=2":       "y=2",
		ours + "; __Host-mayfly-login=a.b":     "",
		"a=\"; " + ours + "; b=\"":             "a=\"; b=\"",
		"\t" + ours + "\t; \t__Host-mayfly2 =": "",
		ours + "; __Host-other=1":              "__Host-other=1",
		"x__Host-mayfly=1; " + ours:            "x__Host-mayfly=1",
		"b=__Host-mayfly; " + ours:             "b=__Host-mayfly",
	} {
		d, _, _ := newFront(t)
		v := d.check(visit(sent))
		if !v.allowed || v.header["cookie"] != want || slices.Contains(v.removed, "cookie") != (want == "") {
			t.Errorf("%q: %q, without %v (%s)", sent, v.header["cookie"], v.removed, v.reason)
		}
	}
	d, _, _ := newFront(t)
	split := visit("a=b").with(func(a *ask) { a.headers = append(a.headers, [2]string{"cookie", ours}, [2]string{"cookie", "c=d"}) })
	if v := d.check(split); !v.allowed || v.header["cookie"] != "a=b; c=d" {
		t.Errorf("three headers: %+v", v)
	}
}

func TestNoPathOfOursReachesAnApp(t *testing.T) {
	for _, path := range []string{"/.mayfly", "/.mayfly/", "/.mayfly?x", "/.mayfly/x", "/.mayfly/callback/", "/.mayfly/logout/x", "/.MAYFLY/x", "/.mayfly/callbackx", "/.mayfly//callback"} {
		d, _, _ := newFront(t)
		if v := d.check(signedIn().with(func(a *ask) { a.path = path })); v.status != 404 || v.reason != grant.UnknownOperation {
			t.Errorf("people, %s: %+v", path, v)
		}
		service := d.read(proxytest.Refunder).with(func(a *ask) { a.path = path })
		if v := d.check(service); v.status != 403 || v.reason != grant.UnknownOperation || len(d.journal.Intents()) != 0 {
			t.Errorf("services, %s: %+v", path, v)
		}
	}
	d, _, _ := newFront(t)
	for _, path := range []string{"/.mayflyx", "/a/.mayfly/", "/mayfly"} {
		if v := d.check(signedIn().with(func(a *ask) { a.path = path })); !v.allowed {
			t.Errorf("%s: %+v", path, v)
		}
	}
	if v := d.check(signedIn().with(func(a *ask) { a.path = "/%2emayfly/x" })); v.reason != grant.Malformed {
		t.Errorf("encoded: %+v", v)
	}
	for _, method := range []string{"POST", "HEAD", "OPTIONS", "EAT"} {
		b := d.browser()
		state := b.begin("/")
		code := d.console(state)
		v := b.send(visit("").with(func(a *ask) { a.method, a.path = method, callback(code, state) }).with(having("sec-fetch-site", "same-origin")))
		if v.status != 404 || len(v.cookies) != 0 {
			t.Errorf("%s ends a login: %+v", method, v)
		}
	}
}
