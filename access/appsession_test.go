package access_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

const (
	reportsHost = "reports.acme.example"
	wikiHost    = "wiki.acme.example"
	docsHost    = "docs.acme.example"
)

// wiki is an app with two hosts that people reach and that is told of them.
const wiki = `app: wiki
kind: web
owner: team-data
hosts: [wiki.acme.example, docs.acme.example]
callers: [people]
upstream: {url: "https://wiki.internal.acme.example"}
identity: {headers: {name: x-acme-name, principal: x-acme-account}}
`

// strangers is a second node, which fronts stripe only.
const strangers = "spiffe://acme.example/gw2/sidecar"

// peopleWorld has two apps that take people, reports and wiki, both fronted by
// the gateway.
func peopleWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.files["apps/wiki.yaml"] = []byte(wiki)
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [stripe, reports, wiki]", "nodes:\n",
		"nodes:\n  - {sidecar: "+strangers+", listener: spiffe://acme.example/gw2/listener, role: gateway, apps: [stripe], environment: prod}\n")
	w.apply("apps/reports.yaml", "callers: [services]", "callers: [services, people]")
	return w
}

// console logs somebody in at the console.
func (w *world) console(who, sid string) access.Session {
	w.t.Helper()
	group, err := identity.ParseGroup("group:idp/support")
	if err != nil {
		w.t.Fatal(err)
	}
	_, s, err := w.NewSession(w.t.Context(), access.Login{
		Kind: access.SessionConsole, Principal: principal(w.t, who), Name: "Alice", Email: "alice@acme.example",
		Groups: []identity.Group{group}, ACR: "urn:mfa", AuthTime: epoch.Add(-time.Minute), Provider: sid,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// state is what the browser on the app's host sent along.
func state(b byte) string { return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func appOf(host string) string {
	name, _, _ := strings.Cut(strings.Replace(host, "docs", "wiki", 1), ".")
	return name
}

// handOver makes the request with which a gateway redeems a fresh code.
func (w *world) handOver(s access.Session, host string, hash byte) *feed.RedeemRequest {
	w.t.Helper()
	at, err := w.HandOver(w.t.Context(), access.CallerOf(s), access.HandOver{App: appOf(host), Host: host, State: state(1)})
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		w.t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme != "https" || u.Host != host || u.Path != "/.mayfly/callback" || len(q) != 2 || q.Get("state") != state(1) || len(q.Get("code")) != 43 {
		w.t.Fatalf("callback %s", at)
	}
	return &feed.RedeemRequest{App: appOf(host), Host: host, Code: q.Get("code"), State: q.Get("state"), Hash: secret(hash)}
}

// enter makes a session on a host of an app.
func (w *world) enter(s access.Session, host string, hash byte) *feed.Resource {
	w.t.Helper()
	out, err := w.Source().Redeem(w.t.Context(), w.instance("1"), w.handOver(s, host, hash))
	if err != nil {
		w.t.Fatal(err)
	}
	return out.GetSession()
}

// lookup says what an instance learns of a session: live, ended or unknown.
func (w *world) lookup(app string, hash byte) string {
	w.t.Helper()
	out, err := w.Source().Lookup(w.t.Context(), w.instance("1"), &feed.LookupRequest{App: app, Hash: secret(hash)})
	switch {
	case err != nil:
		w.t.Fatal(err)
	case out.GetSession() != nil && !out.GetEnded():
		return "live"
	case out.GetSession() == nil && out.GetEnded():
		return "ended"
	case out.GetSession() == nil:
		return "unknown"
	}
	w.t.Fatalf("a session that is live and ended: %v", out)
	return ""
}

// sessions are the ids of those that a snapshot of the apps holds, sorted.
func (w *world) sessions(apps ...string) []string {
	w.t.Helper()
	s, err := snapshotOf(w.t.Context(), w.Source(), apps)
	if err != nil {
		w.t.Fatal(err)
	}
	out := []string{}
	for _, r := range s.Resources {
		if feed.KindOf(r) == feed.KindSession {
			out = append(out, r.GetId())
		}
	}
	slices.Sort(out)
	return out
}

// removed are the removals since a position, as app, kind, id and reason.
func (w *world) removed(since feed.Position) []string {
	w.t.Helper()
	changes, ok, err := w.Source().Changes(w.t.Context(), since, feed.Newest())
	if err != nil || !ok {
		w.t.Fatalf("changes: %v, %v", ok, err)
	}
	out := []string{}
	last := since
	for _, c := range changes {
		if !last.Before(c.At) || w.head().Before(c.At) {
			w.t.Errorf("change %v after %v, the head is %v", c.At, last, w.head())
		}
		last = c.At
		for _, r := range c.Removals {
			out = append(out, strings.Join([]string{c.App, r.GetKind(), r.GetId(), r.GetReason()}, " "))
		}
	}
	slices.Sort(out)
	return out
}

func wantTexts(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestACodeBecomesASessionOnOneHost(t *testing.T) {
	w := peopleWorld(t)
	parent := w.console(alice, "sid-1")
	before, head, wakes := len(w.leaves()), w.head(), w.woken()
	ask := w.handOver(parent, docsHost, 7)
	if w.types(before) != "" || w.head() != head {
		t.Fatal("a code is on the record or moved the feed")
	}
	w.pass(59 * time.Second)
	out, err := w.Source().Redeem(t.Context(), w.instance("1"), ask)
	if err != nil {
		t.Fatal(err)
	}
	r := out.GetSession()
	s := r.GetSession()
	if r.GetMinReader() != 2 || !strings.HasPrefix(r.GetId(), "ses_") || r.GetId() == parent.ID.String() {
		t.Errorf("resource %v", r)
	}
	if s.GetApp() != "wiki" || s.GetHost() != docsHost || s.GetPrincipal() != alice || s.GetPerson() != "alice" ||
		!bytes.Equal(s.GetHash(), secret(7)) || s.GetAcr() != "urn:mfa" || s.GetAuthTimeUs() != epoch.Add(-time.Minute).UnixMicro() ||
		strings.Join(s.GetGroups(), " ") != "group:idp/support" || s.GetEndsUs() != parent.EndsAt.UnixMicro() {
		t.Errorf("session %v", s)
	}
	if len(s.GetFacts()) != 1 || s.GetFacts()["name"] != "Alice" {
		t.Errorf("facts %v: the app is told of the name only", s.GetFacts())
	}
	leaf := w.leaves()[before]
	if w.types(before) != "login" || leaf.Subject != s.GetPseudonym() || !strings.HasPrefix(leaf.Subject, "p_") {
		t.Errorf("leaves %q, subject %q", w.types(before), leaf.Subject)
	}
	if body := fmt.Sprintf("%s", leaf.Body); !strings.Contains(body, docsHost) || !strings.Contains(body, r.GetId()) || strings.Contains(body, "alice") {
		t.Errorf("body %s", body)
	}
	if at := w.head(); at.Revision != int64(len(w.leaves())) || w.woken() != wakes+1 {
		t.Errorf("head %v of %d leaves: a session changes what instances hold", at, len(w.leaves()))
	}
	wantTexts(t, "snapshot", w.sessions("stripe", "reports", "wiki"), r.GetId())
	wantTexts(t, "snapshot of others", w.sessions("stripe", "reports"))
	if w.lookup("wiki", 7) != "live" || w.lookup("reports", 7) != "unknown" || w.lookup("wiki", 8) != "unknown" {
		t.Error("it is looked up where it does not belong, or not found where it does")
	}
	mine, err := w.AppSession(t.Context(), access.CallerOf(parent), sessionID(t, r))
	if err != nil || mine.Host != docsHost || mine.Parent != parent.ID || mine.Provider != "sid-1" {
		t.Errorf("%+v, %v", mine, err)
	}
	_, err = w.AppSession(t.Context(), w.as(bob), sessionID(t, r))
	wantCode(t, err, access.CodeNotFound)
}

func sessionID(t testing.TB, r *feed.Resource) grant.SessionID {
	t.Helper()
	var id grant.SessionID
	if err := id.UnmarshalText([]byte(r.GetId())); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestHandOverIsForAPersonAtTheConsole(t *testing.T) {
	w := peopleWorld(t)
	console := w.console(alice, "")
	_, api, err := w.NewSession(t.Context(), access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, alice)})
	if err != nil {
		t.Fatal(err)
	}
	ended := w.console(alice, "")
	if err := w.EndSession(t.Context(), ended.ID); err != nil {
		t.Fatal(err)
	}
	onApp := console
	onApp.ID = sessionID(t, w.enter(console, wikiHost, 1))
	bobs := access.CallerOf(console)
	bobs.Principal = principal(t, bob)
	good := access.HandOver{App: "wiki", Host: wikiHost, State: state(1)}
	for _, c := range []struct {
		name   string
		caller access.Caller
		change func(*access.HandOver)
		want   access.Code
	}{
		{"as it should be", access.CallerOf(console), func(*access.HandOver) {}, ""},
		{"nobody", access.Caller{}, func(*access.HandOver) {}, access.CodeNotAPerson},
		{"a workload", w.as(refunder), func(*access.HandOver) {}, access.CodeNotAPerson},
		{"a person without a session", w.as(alice), func(*access.HandOver) {}, access.CodeNoSession},
		{"the command's session", access.CallerOf(api), func(*access.HandOver) {}, access.CodeNoSession},
		{"a session on an app's host", access.CallerOf(onApp), func(*access.HandOver) {}, access.CodeNoSession},
		{"somebody else's session", bobs, func(*access.HandOver) {}, access.CodeNoSession},
		{"a session that has ended", access.CallerOf(ended), func(*access.HandOver) {}, access.CodeNoSession},
		{"no such app", access.CallerOf(console), func(h *access.HandOver) { h.App = "nothing" }, access.CodeNotFound},
		{"an app that takes no people", access.CallerOf(console), func(h *access.HandOver) { h.App, h.Host = "stripe", "stripe.acme.example" }, access.CodeNotFound},
		{"another app's host", access.CallerOf(console), func(h *access.HandOver) { h.Host = reportsHost }, access.CodeNotFound},
		{"a host of nobody's", access.CallerOf(console), func(h *access.HandOver) { h.Host = "evil.example" }, access.CodeNotFound},
		{"a host with a port", access.CallerOf(console), func(h *access.HandOver) { h.Host += ":8443" }, access.CodeNotFound},
		{"a host in capitals", access.CallerOf(console), func(h *access.HandOver) { h.Host = "WIKI.acme.example" }, access.CodeNotFound},
		{"no state", access.CallerOf(console), func(h *access.HandOver) { h.State = "" }, access.CodeInvalid},
		{"a short state", access.CallerOf(console), func(h *access.HandOver) { h.State = h.State[1:] }, access.CodeInvalid},
		{"a state with another last bit", access.CallerOf(console), func(h *access.HandOver) { h.State = h.State[:42] + "F" }, access.CodeInvalid},
		{"a state of another alphabet", access.CallerOf(console), func(h *access.HandOver) { h.State = "+" + h.State[1:] }, access.CodeInvalid},
		{"a state with a line feed", access.CallerOf(console), func(h *access.HandOver) { h.State += "\n" }, access.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := good
			c.change(&h)
			at, err := w.HandOver(t.Context(), c.caller, h)
			wantCode(t, err, c.want)
			if (at == "") != (c.want != "") {
				t.Errorf("callback %q", at)
			}
		})
	}
}

func TestTheCallbackNamesThePortOfPeople(t *testing.T) {
	w := peopleWorld(t)
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := access.New(access.Config{
		Store: w.store, Signer: signer, Minter: grant.NewMinter(), PeoplePort: 8443,
		Policy: policy.Options{Catalogue: catalogues(t), GroupSources: []string{"idp"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.HandOver(t.Context(), access.CallerOf(w.console(alice, "")), access.HandOver{App: "wiki", Host: wikiHost, State: state(1)})
	if err != nil || !strings.HasPrefix(at, "https://wiki.acme.example:8443/.mayfly/callback?code=") {
		t.Fatalf("%s, %v", at, err)
	}
}

// A gateway in quarantine makes no session and learns of none; it may still say that
// somebody logged out.
func TestP4_AGatewayInQuarantineIsToldOfNoSession(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	w.join("1")
	s := w.console(alice, "")
	w.enter(s, wikiHost, 1)
	ask := w.handOver(s, docsHost, 2)
	if _, err := w.Quarantine(ctx, w.as(dave), gateway, ""); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Source().Redeem(ctx, w.instance("1"), ask); status.Code(err) != codes.PermissionDenied {
		t.Errorf("redeemed: %v, %v", out, err)
	}
	if out, err := w.Source().Lookup(ctx, w.instance("2"), &feed.LookupRequest{App: "wiki", Hash: secret(1)}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("looked up: %v, %v", out, err)
	}
	if _, err := w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "wiki", Hash: secret(1)}); err != nil {
		t.Error(err)
	}
	if got := w.sessions("wiki"); len(got) != 0 {
		t.Errorf("live: %v", got)
	}
}

// Whatever is wrong with it, a code that was shown is spent, and no session is made.
func TestARefusedCodeIsSpent(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world, access.Session, *feed.RedeemRequest)
	}{
		{"another host of the app", func(_ *world, _ access.Session, r *feed.RedeemRequest) { r.Host = docsHost }},
		{"another app", func(_ *world, _ access.Session, r *feed.RedeemRequest) { r.App, r.Host = "reports", reportsHost }},
		{"another app, the same host", func(_ *world, _ access.Session, r *feed.RedeemRequest) { r.App = "reports" }},
		{"another browser", func(_ *world, _ access.Session, r *feed.RedeemRequest) { r.State = state(2) }},
		{"no state", func(_ *world, _ access.Session, r *feed.RedeemRequest) { r.State = "" }},
		{"after a minute", func(w *world, _ access.Session, _ *feed.RedeemRequest) { w.pass(time.Minute) }},
		{"after the parent's logout", func(w *world, s access.Session, _ *feed.RedeemRequest) {
			if err := w.EndSession(w.t.Context(), s.ID); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"after the account was locked", func(w *world, s access.Session, _ *feed.RedeemRequest) {
			if n, err := w.EndSessionsOf(w.t.Context(), []identity.Principal{s.Principal}, grant.Locked); n != 1 || err != nil {
				w.t.Fatal(n, err)
			}
		}},
		{"the secret of another session", func(w *world, s access.Session, r *feed.RedeemRequest) {
			w.enter(s, wikiHost, 9)
			r.Hash = secret(9)
		}},
		{"the secret of a session that has ended", func(w *world, s access.Session, r *feed.RedeemRequest) {
			if err := w.EndSession(w.t.Context(), sessionID(w.t, w.enter(s, wikiHost, 9))); err != nil {
				w.t.Fatal(err)
			}
			r.Hash = secret(9)
		}},
		{"the host takes no people any more", func(w *world, _ access.Session, _ *feed.RedeemRequest) {
			w.apply("apps/wiki.yaml", "callers: [people]", "callers: [services]", "identity: {headers: {name: x-acme-name, principal: x-acme-account}}\n", "")
		}},
		{"the host is another app's by now", func(w *world, _ access.Session, r *feed.RedeemRequest) {
			w.files["apps/reports.yaml"] = []byte(strings.Replace(string(w.files["apps/reports.yaml"]), "[reports.acme", "[wiki.acme.example, reports.acme", 1))
			w.apply("apps/wiki.yaml", "[wiki.acme.example, docs.acme.example]", "[docs.acme.example]")
			r.App = "reports"
		}},
		{"the app has lost the host", func(w *world, _ access.Session, _ *feed.RedeemRequest) {
			w.apply("apps/wiki.yaml", "hosts: [wiki.acme.example, docs", "hosts: [docs")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := peopleWorld(t)
			parent := w.console(alice, "")
			good := w.handOver(parent, wikiHost, 7)
			bad := &feed.RedeemRequest{App: good.App, Host: good.Host, Code: good.Code, State: good.State, Hash: good.Hash}
			c.change(w, parent, bad)
			before, head := len(w.leaves()), w.head()
			for _, r := range []*feed.RedeemRequest{bad, good} {
				out, err := w.Source().Redeem(t.Context(), w.instance("1"), r)
				if status.Code(err) != codes.NotFound || out != nil || strings.Contains(err.Error(), r.Code) {
					t.Fatalf("%v, %v", out, err)
				}
			}
			if w.types(before) != "" || w.head() != head {
				t.Errorf("leaves %q, head %v", w.types(before), w.head())
			}
		})
	}
}

func TestAReplayedCodeIsRefused(t *testing.T) {
	w := peopleWorld(t)
	ask := w.handOver(w.console(alice, ""), wikiHost, 7)
	if _, err := w.Source().Redeem(t.Context(), w.instance("1"), ask); err != nil {
		t.Fatal(err)
	}
	ask.Hash = secret(8)
	if out, err := w.Source().Redeem(t.Context(), w.instance("1"), ask); status.Code(err) != codes.NotFound || out != nil {
		t.Fatalf("%v, %v", out, err)
	}
	if w.lookup("wiki", 7) != "live" || w.lookup("wiki", 8) != "unknown" {
		t.Fatal("the thief has a session, or the owner has none")
	}
}

func TestOfTwoWhoRedeemOneCodeOneHasASession(t *testing.T) {
	w := peopleWorld(t)
	ask := w.handOver(w.console(alice, ""), wikiHost, 0)
	const thieves = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for n := range thieves {
		wg.Go(func() {
			r := &feed.RedeemRequest{App: ask.App, Host: ask.Host, Code: ask.Code, State: ask.State, Hash: secret(byte(n + 1))}
			out, err := w.Source().Redeem(t.Context(), w.instance("1"), r)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && out.GetSession() != nil:
				won++
			case status.Code(err) != codes.NotFound:
				t.Errorf("%v, %v", out, err)
			}
		})
	}
	wg.Wait()
	if won != 1 || len(w.sessions("wiki")) != 1 {
		t.Fatalf("%d sessions of one code, the feed has %q", won, w.sessions("wiki"))
	}
}

func TestOnlyTheGatewayOfAnAppSpeaksOfItsSessions(t *testing.T) {
	w := peopleWorld(t)
	parent := w.console(alice, "")
	w.enter(parent, wikiHost, 1)
	ask := w.handOver(parent, wikiHost, 2)
	ctx := t.Context()
	for _, i := range []feed.Instance{
		{Sidecar: strangers, Run: strings.Repeat("1", 32)},
		{Sidecar: "spiffe://acme.example/other", Run: strings.Repeat("1", 32)},
		{},
	} {
		_, redeemed := w.Source().Redeem(ctx, i, ask)
		found, looked := w.Source().Lookup(ctx, i, &feed.LookupRequest{App: "wiki", Hash: secret(1)})
		_, ended := w.Source().EndSession(ctx, i, &feed.EndSessionRequest{App: "wiki", Hash: secret(1)})
		for what, err := range map[string]error{"redeem": redeemed, "lookup": looked, "end": ended} {
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s by %q: %v", what, i, err)
			}
		}
		if found != nil {
			t.Errorf("%q found %v", i, found)
		}
	}
	if w.lookup("wiki", 1) != "live" {
		t.Fatal("a stranger ended a session")
	}
	if _, err := w.Source().Redeem(ctx, w.instance("1"), ask); err != nil {
		t.Fatalf("a gateway of other apps spent the code: %v", err)
	}
	for _, short := range [][]byte{nil, secret(1)[1:], append(secret(1), 1)} {
		if _, err := w.Source().Redeem(ctx, w.instance("1"), &feed.RedeemRequest{App: "wiki", Hash: short}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("redeem with %d bytes: %v", len(short), err)
		}
		if _, err := w.Source().Lookup(ctx, w.instance("1"), &feed.LookupRequest{App: "wiki", Hash: short}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("lookup of %d bytes: %v", len(short), err)
		}
		if _, err := w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "wiki", Hash: short}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("end of %d bytes: %v", len(short), err)
		}
	}
}

// The secrets of the other doors are nothing on the feed, and a session on a host
// is nothing at the other doors.
func TestSessionsOfOtherDoorsAreNotOnTheFeed(t *testing.T) {
	w := peopleWorld(t)
	ctx := t.Context()
	text, console, err := w.NewSession(ctx, access.Login{Kind: access.SessionConsole, Principal: principal(t, alice)})
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.Source().Lookup(ctx, w.instance("1"), &feed.LookupRequest{App: "wiki", Hash: console.Hash[:]})
	if err != nil || out.GetSession() != nil || out.GetEnded() {
		t.Fatalf("%v, %v", out, err)
	}
	if _, err := w.Source().EndSession(ctx, w.instance("1"), &feed.EndSessionRequest{App: "wiki", Hash: console.Hash[:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(ctx, access.SessionConsole, text); err != nil {
		t.Fatalf("a gateway ended a console session: %v", err)
	}
	wantTexts(t, "snapshot", w.sessions("wiki", "reports", "stripe"))
}

func TestASessionOnAHostEndsNoLaterThanItsLogin(t *testing.T) {
	w := peopleWorld(t)
	parent := w.console(alice, "")
	w.pass(7 * time.Hour)
	r := w.enter(parent, wikiHost, 1)
	if r.GetSession().GetEndsUs() != parent.EndsAt.UnixMicro() {
		t.Fatalf("ends %s, its login %s", feed.TimeOf(r.GetSession().GetEndsUs()), parent.EndsAt)
	}
	w.pass(time.Hour - time.Microsecond)
	if w.lookup("wiki", 1) != "live" || len(w.sessions("wiki")) != 1 {
		t.Fatal("over before its time")
	}
	w.pass(time.Microsecond)
	if w.lookup("wiki", 1) != "ended" {
		t.Fatal("not over at its time, though nobody swept")
	}
	if err := w.Sweep(t.Context()); err != nil || len(w.sessions("wiki")) != 0 {
		t.Fatalf("still told once its end was recorded: %v", err)
	}
}
