package access_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/tokens"
)

const reportsFile = "apps/reports.yaml"

// asserting is a world whose app reports is told who calls, with a grant on it.
func asserting(t *testing.T) (*world, feed.Instance, access.Request) {
	t.Helper()
	w := newWorld(t)
	w.keep()
	w.apply(reportsFile, "callers: [services]", "callers: [services]\nassert: true")
	r := w.ask(w.as(carol), reports(), access.Approved)
	return w, w.join("a"), r
}

func bound() []byte { b := [32]byte{7}; return b[:] }

func TestAnAppIsToldOfTheHolderOfALiveGrant(t *testing.T) {
	w, i, r := asserting(t)
	out, err := w.Source().Assert(t.Context(), i, &feed.AssertRequest{Grant: r.Grant.String(), Act: []string{refunder}, Bound: bound()})
	if err != nil || out.GetToken() == "" {
		t.Fatalf("%v (%v), want a token", out, err)
	}
	set, err := w.TokenKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := tokens.NewVerifier(tokens.VerifierConfig{Issuer: consoleURL, Keys: func() *tokens.KeySet { return set }})
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifier.Verify(out.GetToken(), w.clock(), tokens.Expect{
		Audience: "https://reports.acme.example", Presenter: tokens.Confirmation{X5T: [32]byte{7}}, MaxLife: tokens.MaxAssertion,
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject.String() != carol || c.Grant != r.Grant || c.Txn != r.ID || c.ClientID != gateway || len(c.Actor) != 1 || c.Actor[0].String() != refunder {
		t.Errorf("claims %+v", c)
	}
	if life := feed.TimeOf(out.GetEndsUs()).Sub(w.clock()); life <= 0 || life > tokens.MaxAssertion {
		t.Errorf("it lasts %s", life)
	}
}

func TestNothingIsAssertedOfWhatHasEnded(t *testing.T) {
	w, i, r := asserting(t)
	ask := func(change func(*feed.AssertRequest)) (*feed.AssertResponse, error) {
		q := &feed.AssertRequest{Grant: r.Grant.String(), Bound: bound()}
		change(q)
		return w.Source().Assert(t.Context(), i, q)
	}
	other := w.granted() // of stripe, which is told of nobody
	for name, change := range map[string]func(*feed.AssertRequest){
		"no binding":     func(q *feed.AssertRequest) { q.Bound = nil },
		"no grant":       func(q *feed.AssertRequest) { q.Grant = "x" },
		"a bad actor":    func(q *feed.AssertRequest) { q.Act = []string{"somebody"} },
		"too many":       func(q *feed.AssertRequest) { q.Act = []string{refunder, refunder, refunder, refunder, refunder} },
		"a bad session":  func(q *feed.AssertRequest) { q.Session = "x" },
		"of another app": func(q *feed.AssertRequest) { q.Grant = other.Grant.String() },
	} {
		if out, err := ask(change); err == nil || out != nil {
			t.Errorf("%s: %v", name, out)
		}
	}
	foreign := feed.Instance{Sidecar: "spiffe://acme.example/gw/elsewhere", Run: i.Run}
	if _, err := w.Source().Assert(t.Context(), foreign, &feed.AssertRequest{Grant: r.Grant.String(), Bound: bound()}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a gateway that policy does not list: %v", err)
	}
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, "over"); err != nil {
		t.Fatal(err)
	}
	if out, err := ask(func(*feed.AssertRequest) {}); err != nil || out.GetToken() != "" || out.GetReason() != "revoked" {
		t.Errorf("after a revoke: %v (%v), want the reason revoked", out, err)
	}
}

func TestAnAssertionNeverOutlivesTheGrant(t *testing.T) {
	w, i, r := asserting(t)
	var left time.Duration
	for {
		g, err := w.ShowGrant(t.Context(), w.as(carol), r.Grant)
		if err != nil {
			t.Fatal(err)
		}
		if left = g.NotAfter.Sub(w.clock()); left <= 10*time.Second {
			break
		}
		w.pass(left - 10*time.Second)
	}
	out, err := w.Source().Assert(t.Context(), i, &feed.AssertRequest{Grant: r.Grant.String(), Bound: bound()})
	if err != nil || out.GetToken() == "" || feed.TimeOf(out.GetEndsUs()).After(w.clock().Add(left)) {
		t.Errorf("%v (%v): %s are left of the grant", out, err, left)
	}
}

// Of a person with a browser the app is told how they logged in; of a session that is
// over, of another's, or at another app, nothing.
func TestAnAssertionIsOfALiveSessionOfTheHolder(t *testing.T) {
	w := peopleWorld(t)
	w.keep()
	w.apply(reportsFile, "callers: [services, people]", "callers: [services, people]\nassert: true")
	r, i := w.ask(w.as(carol), reports(), access.Approved), w.join("a")
	mine := w.enter(w.console(carol, ""), reportsHost, 'a')
	others := w.enter(w.console(bob, ""), reportsHost, 'b')
	elsewhere := w.enter(w.console(carol, ""), wikiHost, 'c')
	ask := func(session string) *feed.AssertResponse {
		t.Helper()
		out, err := w.Source().Assert(t.Context(), i, &feed.AssertRequest{Grant: r.Grant.String(), Session: session, Bound: bound()})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	set, err := w.TokenKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := tokens.NewVerifier(tokens.VerifierConfig{Issuer: consoleURL, Keys: func() *tokens.KeySet { return set }})
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifier.Verify(ask(mine.GetId()).GetToken(), w.clock(), tokens.Expect{Audience: "https://" + reportsHost, Presenter: tokens.Certificate([32]byte{7})})
	if err != nil {
		t.Fatal(err)
	}
	if c.ACR != "urn:mfa" || !c.AuthTime.Equal(epoch.Add(-time.Minute)) {
		t.Errorf("told acr %q and auth_time %s", c.ACR, c.AuthTime)
	}
	for name, s := range map[string]*feed.Resource{"another's": others, "at another app": elsewhere} {
		if out := ask(s.GetId()); out.GetToken() != "" || out.GetReason() != "session_ended" {
			t.Errorf("%s: %v", name, out)
		}
	}
	if _, err := w.Source().EndSession(t.Context(), i, &feed.EndSessionRequest{App: "reports", Hash: secret('a')}); err != nil {
		t.Fatal(err)
	}
	if out := ask(mine.GetId()); out.GetToken() != "" || out.GetReason() != "session_ended" {
		t.Errorf("after its end: %v", out)
	}
}
