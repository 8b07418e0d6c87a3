package access_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// gone is how the removal of a session reads.
func gone(app string, r *feed.Resource) string {
	return app + " session " + r.GetId() + " session_ended"
}

// live lists which of the sessions that were made with these hashes are live.
func (w *world) live(hashes ...byte) string {
	w.t.Helper()
	var out []string
	for _, h := range hashes {
		for _, app := range []string{"wiki", "reports"} {
			if w.lookup(app, h) == "live" {
				out = append(out, string('0'+rune(h)))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestP4_ALogoutTakesTheSessionsOnHostsWithIt(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	first, second := w.console(alice, ""), w.console(alice, "")
	a, b, c := w.enter(first, wikiHost, 1), w.enter(first, docsHost, 2), w.enter(first, reportsHost, 3)
	w.enter(second, wikiHost, 4)
	before, head, wakes := len(w.leaves()), w.head(), w.woken()
	if err := w.EndSession(ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	wantTexts(t, "removals", w.removed(head), gone("wiki", a), gone("wiki", b), gone("reports", c))
	if w.types(before) != "session.ended session.ended session.ended session.ended" || w.woken() != wakes+1 {
		t.Errorf("leaves %q, %d wakes", w.types(before), w.woken()-wakes)
	}
	if at := w.head(); at.Revision != int64(len(w.leaves())) {
		t.Errorf("head %v of %d leaves", at, len(w.leaves()))
	}
	if w.live(1, 2, 3, 4) != "4" || w.lookup("wiki", 1) != "ended" {
		t.Errorf("live: %s", w.live(1, 2, 3, 4))
	}
	before, head = len(w.leaves()), w.head()
	for range 2 {
		if err := w.EndSession(ctx, first.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.EndSession(ctx, grant.NewMinter().NewSessionID(w.clock())); err != nil {
		t.Fatal(err)
	}
	if w.types(before) != "" || w.head() != head {
		t.Errorf("ended twice: %q", w.types(before))
	}
}

// Nobody reads the whole again because one person logged out of two apps.
func TestALogoutIsToldByRemovalsOnly(t *testing.T) {
	w := peopleWorld(t)
	s := w.console(alice, "")
	w.enter(s, wikiHost, 1)
	w.enter(s, reportsHost, 2)
	head := w.head()
	if err := w.EndSession(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	changes, _, err := w.Source().Changes(t.Context(), head, feed.Newest())
	if err != nil || len(changes) != 2 || changes[0].App != "reports" || changes[1].App != "wiki" || changes[1].At != w.head() {
		t.Fatalf("%v, %v", changes, err)
	}
	if !head.Before(changes[0].At) || !changes[0].At.Before(changes[1].At) {
		t.Fatalf("revisions %v and %v after %v", changes[0].At, changes[1].At, head)
	}
}

func TestALogoutOnAHostEndsThatSessionOnly(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	text, _, err := w.NewSession(ctx, access.Login{Kind: access.SessionConsole, Principal: principal(t, alice)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Session(ctx, access.SessionConsole, text)
	if err != nil {
		t.Fatal(err)
	}
	a := w.enter(s, wikiHost, 1)
	w.enter(s, docsHost, 2)
	before, head := len(w.leaves()), w.head()
	for range 2 {
		if _, err := w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "wiki", Hash: secret(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "reports", Hash: secret(2)}); err != nil {
		t.Fatal(err)
	}
	wantTexts(t, "removals", w.removed(head), gone("wiki", a))
	if w.types(before) != "session.ended" || w.live(1, 2) != "2" {
		t.Errorf("leaves %q, live %q", w.types(before), w.live(1, 2))
	}
	if _, err := w.Session(ctx, access.SessionConsole, text); err != nil {
		t.Error(err)
	}
}

func TestEndSessionsLeavesTheOneThatAsks(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	here, there := w.console(alice, ""), w.console(alice, "")
	w.enter(here, wikiHost, 1)
	w.enter(there, wikiHost, 2)
	w.enter(w.console(bob, ""), wikiHost, 3)
	n, err := w.EndSessions(ctx, access.CallerOf(here))
	if err != nil || n != 3 || w.live(1, 2, 3) != "3" {
		t.Fatalf("%d ended, %v, live %q", n, err, w.live(1, 2, 3))
	}
	w.enter(here, wikiHost, 4) // it still speaks
	if n, err := w.EndSessions(ctx, access.CallerOf(there)); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	for _, c := range []access.Caller{{}, w.as(refunder)} {
		_, err := w.EndSessions(ctx, c)
		wantCode(t, err, access.CodeNotAPerson)
	}
}

func TestP4_AProviderEndsItsOwnSessions(t *testing.T) {
	const elsewhere = "user:other:alice"
	for _, c := range []struct {
		name   string
		logout access.ProviderLogout
		n      int
		live   string
		want   access.Code
	}{
		{"by sid", access.ProviderLogout{IDP: "idp", Session: "sid-1"}, 3, "3 4 5", ""},
		{"by subject", access.ProviderLogout{IDP: "idp", Subject: "alice"}, 5, "4 5", ""},
		{"by both", access.ProviderLogout{IDP: "idp", Subject: "alice", Session: "sid-1"}, 3, "3 4 5", ""},
		{"both, of another subject", access.ProviderLogout{IDP: "idp", Subject: "bob", Session: "sid-1"}, 0, "1 2 3 4 5", ""},
		{"another provider's sid", access.ProviderLogout{IDP: "third", Session: "sid-1"}, 0, "1 2 3 4 5", ""},
		{"a provider whose name begins alike", access.ProviderLogout{IDP: "id", Session: "sid-1"}, 0, "1 2 3 4 5", ""},
		{"the same sid at the other provider", access.ProviderLogout{IDP: "other", Session: "sid-1"}, 2, "1 2 3 4", ""},
		{"a sid of nobody's", access.ProviderLogout{IDP: "idp", Session: "sid-9"}, 0, "1 2 3 4 5", ""},
		{"nothing named", access.ProviderLogout{IDP: "idp"}, 0, "1 2 3 4 5", access.CodeInvalid},
		{"no provider", access.ProviderLogout{Session: "sid-1"}, 0, "1 2 3 4 5", access.CodeInvalid},
		{"a subject that cannot be", access.ProviderLogout{IDP: "idp", Subject: "a b"}, 0, "1 2 3 4 5", access.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := peopleWorld(t)
			mine := w.console(alice, "sid-1")
			w.enter(mine, wikiHost, 1)
			w.enter(mine, reportsHost, 2)
			w.enter(w.console(alice, "sid-2"), wikiHost, 3)
			w.enter(w.console(bob, "sid-3"), wikiHost, 4)
			w.enter(w.console(elsewhere, "sid-1"), wikiHost, 5)
			before := len(w.leaves())
			n, err := w.LogoutAt(t.Context(), c.logout)
			wantCode(t, err, c.want)
			if n != c.n || w.live(1, 2, 3, 4, 5) != c.live {
				t.Errorf("%d ended, live %q", n, w.live(1, 2, 3, 4, 5))
			}
			if want := strings.TrimSpace(strings.Repeat("session.ended ", c.n)); w.types(before) != want {
				t.Errorf("leaves %q", w.types(before))
			}
		})
	}
}

// A provider that names its session in the logout only, and not in the ID token: the
// subject tells whose it is.
func TestP4_AProviderEndsSessionsThatItNeverNamed(t *testing.T) {
	w := peopleWorld(t)
	w.enter(w.console(alice, ""), wikiHost, 1)
	w.enter(w.console(alice, "sid-2"), wikiHost, 2)
	w.enter(w.console(bob, ""), wikiHost, 3)
	n, err := w.LogoutAt(t.Context(), access.ProviderLogout{IDP: "idp", Subject: "alice", Session: "sid-1"})
	if err != nil || n != 2 || w.live(1, 2, 3) != "2 3" {
		t.Errorf("%d ended, %v, live %q", n, err, w.live(1, 2, 3))
	}
}

func TestP4_ALockEndsEverySessionOfTheAccounts(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	text, _, err := w.NewSession(ctx, access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, aliceAdmin)})
	if err != nil {
		t.Fatal(err)
	}
	s := w.console(alice, "")
	a, b := w.enter(s, wikiHost, 1), w.enter(s, reportsHost, 2)
	w.enter(w.console(bob, ""), wikiHost, 3)
	before, head := len(w.leaves()), w.head()
	accounts := []identity.Principal{principal(t, alice), principal(t, aliceAdmin), {}, principal(t, alice)}
	n, err := w.EndSessionsOf(ctx, accounts, grant.Locked)
	if err != nil || n != 4 || w.live(1, 2, 3) != "3" {
		t.Fatalf("%d ended, %v, live %q", n, err, w.live(1, 2, 3))
	}
	wantTexts(t, "removals", w.removed(head), "wiki session "+a.GetId()+" locked", "reports session "+b.GetId()+" locked")
	if w.types(before) != "session.ended session.ended session.ended session.ended" {
		t.Errorf("leaves %q", w.types(before))
	}
	_, err = w.Session(ctx, access.SessionAPI, text)
	wantCode(t, err, access.CodeNoSession)
	if n, err := w.EndSessionsOf(ctx, accounts, grant.Locked); err != nil || n != 0 {
		t.Fatalf("%d ended again, %v", n, err)
	}
	head = w.head()
	if n, err := w.EndSessionsOf(ctx, []identity.Principal{principal(t, bob)}, grant.SessionEnded); err != nil || n != 2 || !strings.HasSuffix(w.removed(head)[0], "session_ended") {
		t.Fatalf("%d, %v, %q", n, err, w.removed(head))
	}
}

func TestSweepTakesSessionsThatAreOverOffTheFeed(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	s := w.console(alice, "")
	a, b := w.enter(s, wikiHost, 1), w.enter(s, reportsHost, 2)
	ended := w.enter(s, wikiHost, 3)
	if err := w.EndSession(ctx, sessionID(t, ended)); err != nil {
		t.Fatal(err)
	}
	w.pass(8*time.Hour - time.Microsecond)
	before, head := len(w.leaves()), w.head()
	if err := w.Sweep(ctx); err != nil || w.types(before) != "" {
		t.Fatalf("swept before its time: %q, %v", w.types(before), err)
	}
	w.pass(time.Microsecond)
	for range 2 {
		if err := w.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantTexts(t, "removals", w.removed(head), gone("wiki", a), gone("reports", b))
	if w.types(before) != "session.ended session.ended" { // not the console's, which no instance holds
		t.Errorf("leaves %q", w.types(before))
	}
}

func TestP4_PolicyEndsSessionsWhereItTakesNoPeople(t *testing.T) {
	for _, c := range []struct {
		name   string
		commit func(*world)
		live   string
	}{
		{"the app takes no people any more", func(w *world) {
			w.apply("apps/wiki.yaml", "callers: [people]", "callers: [services]", "identity: {headers: {name: x-acme-name, principal: x-acme-account}}\n", "")
		}, "3"},
		{"the app loses a host", func(w *world) {
			w.apply("apps/wiki.yaml", "hosts: [wiki.acme.example, docs", "hosts: [docs")
		}, "2 3"},
		{"a host moves to another app", func(w *world) {
			w.files["apps/reports.yaml"] = []byte(strings.Replace(string(w.files["apps/reports.yaml"]), "[reports.acme", "[docs.acme.example, reports.acme", 1))
			w.apply("apps/wiki.yaml", "[wiki.acme.example, docs.acme.example]", "[wiki.acme.example]")
		}, "1 3"},
		{"the app goes", func(w *world) {
			delete(w.files, "apps/wiki.yaml")
			w.apply("mayfly.yaml", "reports, wiki]", "reports]")
		}, "3"},
		{"nothing about it", func(w *world) { w.apply("mayfly.yaml", "pending_per_principal: 5", "pending_per_principal: 6") }, "1 2 3"},
		{"an upstream", func(w *world) { w.apply("apps/wiki.yaml", "wiki.internal", "wiki2.internal") }, "1 2 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := peopleWorld(t)
			s := w.console(alice, "")
			ids := map[string]*feed.Resource{"1": w.enter(s, wikiHost, 1), "2": w.enter(s, docsHost, 2), "3": w.enter(s, reportsHost, 3)}
			before := len(w.leaves())
			c.commit(w)
			live := strings.Fields(c.live)
			if want := strings.Repeat("session.ended ", 3-len(live)) + "policy.applied"; w.types(before) != want {
				t.Errorf("leaves %q, want %q", w.types(before), want)
			}
			var want []string
			for _, k := range live {
				want = append(want, ids[k].GetId())
			}
			wantTexts(t, "sessions", w.sessions("wiki", "reports"), want...)
		})
	}
}

// What changes several apps together is told at once: an instance that took one
// half first would have one host on two apps.
func TestAHostThatMovesIsToldInOneStep(t *testing.T) {
	w := peopleWorld(t)
	w.enter(w.console(alice, ""), docsHost, 1)
	head := w.head()
	w.files["apps/reports.yaml"] = []byte(strings.Replace(string(w.files["apps/reports.yaml"]), "[reports.acme", "[docs.acme.example, reports.acme", 1))
	w.apply("apps/wiki.yaml", "[wiki.acme.example, docs.acme.example]", "[wiki.acme.example]")
	changes, _, err := w.Source().Changes(t.Context(), head, feed.Newest())
	if err != nil || len(changes) != 1 || changes[0].App != "" || changes[0].At != w.head() {
		t.Fatalf("%v, %v", changes, err)
	}
}

// What policy makes of a person reaches the instances with the commit.
func TestAPolicyChangeTellsSessionsAgain(t *testing.T) {
	w := peopleWorld(t)
	r := w.enter(w.console(erin, ""), wikiHost, 1)
	if p := r.GetSession().GetPerson(); p != erin {
		t.Fatalf("person %q", p)
	}
	head := w.head()
	w.apply("mayfly.yaml", "people:\n", "people:\n  - {person: erin, accounts: [\""+erin+"\"]}\n")
	changes, _, err := w.Source().Changes(t.Context(), head, feed.Newest())
	if err != nil || len(changes) != 1 || changes[0].App != "wiki" || len(changes[0].Resources) != 1 ||
		changes[0].Resources[0].GetSession().GetPerson() != "erin" {
		t.Fatalf("%v, %v", changes, err)
	}
	w.apply("apps/wiki.yaml", "name: x-acme-name", "email: x-acme-mail")
	changes, _, err = w.Source().Changes(t.Context(), changes[0].At, feed.Newest())
	if err != nil || len(changes) != 1 {
		t.Fatalf("%v, %v", changes, err)
	}
	i := slices.IndexFunc(changes[0].Resources, func(r *feed.Resource) bool { return r.GetSession() != nil })
	if facts := changes[0].Resources[i].GetSession().GetFacts(); len(facts) != 1 || facts["email"] != "alice@acme.example" {
		t.Fatalf("facts %v", facts)
	}
}
