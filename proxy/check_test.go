package proxy_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

func actionID(t testing.TB, text string) (id grant.ActionID) {
	t.Helper()
	if err := id.UnmarshalText([]byte(text)); err != nil || id.IsZero() {
		t.Fatalf("action %q: %v", text, err)
	}
	return id
}

func TestADirectRequestIsForwardedWithItsDeadline(t *testing.T) {
	d := newDesk(t)
	v := d.check(d.read(proxytest.Refunder))
	intents := d.journal.Intents()
	if !v.allowed || len(intents) != 1 {
		t.Fatalf("%+v, %d intents", v, len(intents))
	}
	i := intents[0]
	if len(v.header) != 2 || v.header["x-mayfly-action"] != i.Action || v.meta["action"] != i.Action || v.header["grpc-timeout"] != "10000m" {
		t.Fatalf("headers %v, metadata %v", v.header, v.meta)
	}
	if i.Grant != d.wiki.String() || i.Principal != "p_1" || i.App != "wiki" || i.Operation != "http.get" || i.Resource != "/docs/a" || i.Class != "read" ||
		i.Ask.Path != audit.SHA256([]byte("/docs/a?b=c")) || i.Ask.Method != "GET" || i.Ask.Certificate.IsZero() || !i.Ask.Body.IsZero() ||
		i.Epoch != 1 || i.Revision == 0 || !i.Deadline.Equal(d.world.Now().Add(10*time.Second)) {
		t.Fatalf("intent %+v", i)
	}
	if d.journal.Durable(i.Action) || len(d.reserver.asked) != 0 {
		t.Fatal("a read waited for the disk or the control plane")
	}
	w := d.check(d.read(proxytest.Refunder).with(func(a *ask) { a.method = "POST" }))
	if !w.allowed || !d.journal.Durable(w.meta["action"]) || len(d.reserver.asked) != 0 {
		t.Fatalf("a write did not wait for the disk alone: %+v", w)
	}
}

func TestAHopRequestIsAcknowledgedAndTakenOnce(t *testing.T) {
	d := newDesk(t)
	v := d.check(d.refund(proxytest.Refunder))
	if !v.allowed || len(v.header) != 1 || len(d.reserver.asked) != 1 || d.reserver.asked[0] != "money 100" || !d.journal.Durable(v.meta["action"]) {
		t.Fatalf("%+v, reserved %q", v, d.reserver.asked)
	}
	id := actionID(t, v.header["x-mayfly-action"])
	var wg sync.WaitGroup
	var mu sync.Mutex
	var taken []proxy.Action
	for range 8 {
		wg.Go(func() {
			if a, err := d.actions.Take(id, "POST", "stripe.acme.example", "/v1/refunds", d.world.Now()); err == nil {
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, a)
			}
		})
	}
	wg.Wait()
	if len(taken) != 1 || taken[0].Secret != "stripe-key" || taken[0].Grant != d.stripe || !taken[0].HasBody || taken[0].App != "stripe" {
		t.Fatalf("taken %+v", taken)
	}
}

// TestP2_EveryDoubtIsANoWithItsReason sends requests that one thing is wrong with.
func TestP2_EveryDoubtIsANoWithItsReason(t *testing.T) {
	wiki := func(change func(*ask)) func(*desk) ask {
		return func(d *desk) ask { return d.read(proxytest.Refunder).with(change) }
	}
	refund := func(change func(*ask)) func(*desk) ask {
		return func(d *desk) ask { return d.refund(proxytest.Refunder).with(change) }
	}
	header := func(name, value string) func(*ask) {
		return func(a *ask) { a.headers = append(a.headers, [2]string{name, value}) }
	}
	good := func(*ask) {}
	nothing := func(*desk) {}
	for _, c := range []struct {
		name    string
		prepare func(*desk)
		ask     func(*desk) ask
		reason  grant.Reason
		status  int
	}{
		{"no certificate", nothing, wiki(func(a *ask) { a.certificate = "" }), grant.NoIdentity, 401},
		{"no PEM", nothing, wiki(func(a *ask) { a.certificate = "hello" }), grant.BadCertificate, 401},
		{"bad escapes", nothing, wiki(func(a *ask) { a.certificate = "%zz" }), grant.BadCertificate, 401},
		{"an expired certificate on a live connection", func(d *desk) { d.world.Pass(4 * time.Hour); d.world.Pong() }, wiki(good), grant.BadCertificate, 401},
		{"another host's name in TLS", nothing, wiki(func(a *ask) { a.sni = "stripe.acme.example" }), grant.ConflictingHeaders, 421},
		{"no name in TLS", nothing, wiki(func(a *ask) { a.sni = "" }), grant.ConflictingHeaders, 421},
		{"another app's route", nothing, wiki(func(a *ask) { a.app = "stripe" }), grant.UnknownApp, 404},
		{"no app's route", nothing, wiki(func(a *ask) { a.app = "" }), grant.UnknownApp, 404},
		{"a host of no app", nothing, wiki(func(a *ask) { a.sni, a.authority = "x.acme.example", "x.acme.example" }), grant.UnknownApp, 404},
		{"a host with a dot at its end", nothing, wiki(func(a *ask) { a.authority += "." }), grant.ConflictingHeaders, 421},
		{"a direct app through the hop", nothing, wiki(func(a *ask) { a.hop = true }), grant.Internal, 500},
		{"an app with a credential directly", nothing, refund(func(a *ask) { a.hop = false }), grant.Internal, 500},
		{"an unknown method", nothing, wiki(func(a *ask) { a.method = "EAT" }), grant.UnknownOperation, 403},
		{"an unknown operation", nothing, refund(func(a *ask) { a.path = "/v1/nothing" }), grant.UnknownOperation, 403},
		{"a path of two readings", nothing, wiki(func(a *ask) { a.path = "/a//b" }), grant.Malformed, 400},
		{"no path", nothing, wiki(func(a *ask) { a.path = "" }), grant.Malformed, 400},
		{"no headers", nothing, wiki(func(a *ask) { a.noHeaders = true }), grant.Malformed, 400},
		{"two request lines", nothing, wiki(func(a *ask) { a.told = true }), grant.ConflictingHeaders, 400},
		{"another Host", nothing, wiki(header("host", "stripe.acme.example")), grant.ConflictingHeaders, 400},
		{"two Authorizations", nothing, refund(header("authorization", "b")), grant.ConflictingHeaders, 400},
		{"two Content-Types", nothing, refund(header("Content-Type", "application/json")), grant.ConflictingHeaders, 400},
		{"Connection drops a header", nothing, wiki(header("connection", "close, X-Mayfly-Action")), grant.ConflictingHeaders, 400},
		{"another method in a header", nothing, wiki(header("x-http-method-override", "DELETE")), grant.ConflictingHeaders, 400},
		{"a part of a body", nothing, refund(func(a *ask) { a.partial = true }), grant.BodyTooLarge, 413},
		{"a body of which nobody knows whether it is whole", nothing, refund(func(a *ask) { a.unmarked = true }), grant.BodyTooLarge, 413},
		{"a body that is whole and is not", nothing, refund(header("x-envoy-auth-partial-body", "true")), grant.ConflictingHeaders, 400},
		{"nothing granted", nothing, func(d *desk) ask { return d.refund(proxytest.Stranger) }, grant.NoGrant, 403},
		{"not begun", func(d *desk) {
			_, r := d.world.Reads(2 * time.Hour)
			r.GetGrant().NotBeforeUs += time.Hour.Microseconds()
			r.GetGrant().NotAfterUs += time.Hour.Microseconds()
			r.GetGrant().Principal = proxytest.Stranger
			d.world.Add(r)
		}, func(d *desk) ask { return d.read(proxytest.Stranger) }, grant.NotYet, 403},
		{"over by time", func(d *desk) { d.world.Pass(time.Hour); d.world.Pong() }, refund(good), grant.Ended, 403},
		{"revoked", func(d *desk) { d.world.End(d.stripe, grant.Revoked) }, refund(good), grant.Revoked, 403},
		{"ended by policy", func(d *desk) { d.world.End(d.stripe, grant.PolicyChanged) }, refund(good), grant.PolicyChanged, 403},
		{"too much", nothing, refund(func(a *ask) { a.body = "amount=501&charge=ch_1" }), grant.ConstraintUnmet, 403},
		{"another charge", nothing, refund(func(a *ask) { a.body = "amount=100&charge=ch_2" }), grant.ConstraintUnmet, 403},
		{"no amount", nothing, refund(func(a *ask) { a.body = "charge=ch_1" }), grant.ConstraintUnmet, 403},
		{"another operation", nothing, refund(func(a *ask) { a.path, a.body = "/v1/payouts", "amount=1&currency=usd" }), grant.OutOfScope, 403},
		{"an unknown field", nothing, refund(func(a *ask) { a.body += "&x=1" }), grant.Malformed, 400},
		{"no policy names a key", func(d *desk) {
			r := proxytest.Stripe("https://api.stripe.com")
			r.GetApp().Credentials = nil
			d.world.Add(r)
		}, refund(good), grant.CredentialUnavailable, 503},
		{"silence", func(d *desk) { d.world.Pass(15 * time.Second) }, refund(good), grant.Stale, 503},
		{"a clock that went back", func(d *desk) { d.world.PongTelling(-time.Hour) }, refund(good), grant.Clock, 503},
		{"a full disk", func(d *desk) { d.journal.BeforeIntent = func(context.Context) error { return errors.New("no room") } }, refund(good), grant.RecordUnavailable, 503},
		{"no word of the control plane", func(d *desk) { d.reserver.act = func(context.Context) error { return errors.New("away") } }, refund(good), grant.RecordUnavailable, 503},
		{"ended at the control plane", func(d *desk) {
			d.reserver.act = func(context.Context) error { return grant.Deny(grant.Ended, "it says so") }
		}, refund(good), grant.Ended, 403},
		{"over the budget", func(d *desk) {
			d.reserver.act = func(context.Context) error { return grant.Deny(grant.Budget, "it says so") }
		}, refund(good), grant.Budget, 403},
		{"too many under way", func(d *desk) {
			m := grant.NewMinter()
			for d.actions.Put(proxy.Action{ID: m.NewActionID(proxytest.Noon())}) == nil {
			}
		}, refund(good), grant.Overloaded, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			c.prepare(d)
			v := d.check(c.ask(d))
			if v.allowed || v.reason != c.reason || v.status != c.status || v.header["mayfly-reason"] != string(c.reason) || v.header["cache-control"] != "no-store" {
				t.Fatalf("%+v, want %s with %d", v, c.reason, c.status)
			}
			if v.meta["action"] != "" || v.header["x-mayfly-action"] != "" {
				t.Errorf("a refusal names an action: %+v", v)
			}
			if strings.Contains(v.body+d.logs.String(), "sk_test_callers") {
				t.Errorf("the caller's credential shows: %s\n%s", v.body, d.logs)
			}
			d.whole(v)
		})
	}
}

// whole checks that a refusal is on record: what an intent became, and the denial,
// or that it was counted.
func (d *desk) whole(v verdict) {
	d.t.Helper()
	intents, outcomes, denials := d.journal.Intents(), d.journal.Outcomes(), d.journal.Denials()
	if len(intents) != len(outcomes) {
		d.t.Fatalf("%d intents, %d outcomes", len(intents), len(outcomes))
	}
	for n, o := range outcomes {
		if o.Action != intents[n].Action || o.Result != audit.ResultNotSent || o.Reason != string(v.reason) {
			d.t.Errorf("outcome %+v of %s", o, intents[n].Action)
		}
		if len(denials) != 1 || denials[0].Action != o.Action {
			d.t.Errorf("denials %+v, want one of the action %s", denials, o.Action)
		}
	}
	if v.status == 401 || v.reason == grant.Clock { // whose certificate cannot be judged
		if len(denials) != 0 || d.journal.Counted(v.reason) != 1 {
			d.t.Errorf("a peer that proved nothing: %d denials on record", len(denials))
		}
		return
	}
	if len(denials) != 1 || denials[0].Code != string(v.reason) || denials[0].Denial != v.meta["denial"] || denials[0].Denial != v.header["mayfly-denial"] {
		d.t.Fatalf("denials %+v, the answer %+v", denials, v)
	}
	if _, err := audit.Encode(audit.Record{ID: "rec_01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: audit.TypeActionDenied, Time: proxytest.Noon(), Node: "n", Seq: 1, Body: denials[0]}); err != nil {
		d.t.Errorf("the denial cannot be written: %v", err)
	}
}

func TestBeforeAnythingIsKnownEverybodyIsStale(t *testing.T) {
	d := newDesk(t)
	d.world = proxytest.NewEmptyWorld(t)
	d.build(&proxytest.Journal{})
	for name, a := range map[string]ask{"authenticated": d.read(proxytest.Refunder), "not": d.read(proxytest.Refunder).with(func(a *ask) { a.certificate = "" })} {
		if v := d.check(a); v.reason != grant.Stale || v.status != 503 || v.meta["denial"] != "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestEveryBadCertificateIsRefused(t *testing.T) {
	d := newDesk(t)
	bad, err := d.ca.Bad(refunderID())
	if err != nil || len(bad) < 5 {
		t.Fatal(len(bad), err)
	}
	for _, b := range bad {
		v := d.check(d.read(proxytest.Refunder).with(func(a *ask) { a.certificate = pemOf(b.Cert.Certificate) }))
		if v.allowed || v.status != 401 || v.reason != grant.BadCertificate && v.reason != grant.NoIdentity {
			t.Errorf("%s: %+v", b.Name, v)
		}
	}
}

func TestNobodyUnprovenLearnsAnything(t *testing.T) {
	d := newDesk(t)
	for name, change := range map[string]func(*ask){
		"no certificate":  func(a *ask) { a.certificate = "" },
		"bad certificate": func(a *ask) { a.certificate = "hello" },
		"and malformed":   func(a *ask) { a.certificate, a.path = "", "" },
		"and misdirected": func(a *ask) { a.certificate, a.sni = "", "x" },
	} {
		v := d.check(d.refund(proxytest.Refunder).with(change))
		if v.reason != grant.NoIdentity && v.reason != grant.BadCertificate {
			t.Errorf("%s: %s before who it is", name, v.reason)
		}
		if all := v.body + strings.Join([]string{v.meta["denial"], v.header["mayfly-denial"]}, ""); strings.Contains(all, "stripe") || strings.Contains(all, "mayfly request") ||
			strings.Contains(all, "den_") || strings.Contains(all, "refunder") || strings.Contains(all, "acme") {
			t.Errorf("%s: told %s", name, all)
		}
	}
}

func TestADenialSaysHowToAsk(t *testing.T) {
	d := newDesk(t)
	v := d.check(d.read(proxytest.Stranger))
	p := v.problem(t)
	if p["code"] != "no_grant" || p["entitlement"] != "wiki/read" || p["denial"] != v.meta["denial"] ||
		p["next"] != "mayfly request wiki/read\nmayfly request --from-denial "+v.meta["denial"] || v.header["content-type"] != "application/problem+json" {
		t.Fatalf("%+v", p)
	}
	v = d.check(d.refund(proxytest.Stranger))
	for _, want := range []string{`"mayfly_no_grant"`, "stripe/refunds", "--param amount_max=100", "--param charge=ch_1", "--from-denial " + v.meta["denial"]} {
		if !strings.Contains(v.body, want) {
			t.Errorf("%s does not say %s", v.body, want)
		}
	}
	if v.header["content-type"] != "application/json" || v.header["stripe-should-retry"] != "false" {
		t.Errorf("%+v", v.header)
	}
	v = d.check(d.read(proxytest.Stranger).with(func(a *ask) { a.headers = [][2]string{{"content-type", "application/grpc+proto"}} }))
	if v.status != 200 || v.header["grpc-status"] != "7" || !strings.HasPrefix(v.header["grpc-message"], "no_grant: ") ||
		!strings.Contains(v.header["grpc-message"], "wiki/read") || strings.ContainsAny(v.header["grpc-message"], "\n\r") || v.body != "" {
		t.Errorf("%+v", v)
	}
	d.journal.Counting = true
	if v := d.check(d.read(proxytest.Stranger)); v.meta["denial"] != "" || strings.Contains(v.body, "den_") || v.header["mayfly-denial"] != "" || v.reason != grant.NoGrant {
		t.Errorf("a denial that was only counted shows an id: %+v", v)
	}
}

// What the caller wrote is pasted into a shell by whoever asks.
func TestTheCommandRunsNothingElse(t *testing.T) {
	d := newDesk(t)
	v := d.check(d.refund(proxytest.Stranger).with(func(a *ask) { a.body = "amount=100&charge=ch_1%27%3B+rm+-rf+~+%0A" }))
	if v.reason == grant.NoGrant && strings.Contains(v.body, "charge=ch_1'; rm") {
		t.Errorf("%s", v.body)
	}
}

func TestEnvoysOtherWaysToWriteHeaders(t *testing.T) {
	d := newDesk(t)
	for name, change := range map[string]func(*ask){
		"value instead of raw_value": func(a *ask) { a.inValue = true },
		"capitals":                   func(a *ask) { a.authority, a.sni = "WIKI.acme.example", "wiki.ACME.example" },
		"a port":                     func(a *ask) { a.authority += ":8443" },
		"Host as the authority":      func(a *ask) { a.headers = append(a.headers, [2]string{"host", a.authority}) },
		"harmless Connection":        func(a *ask) { a.headers = append(a.headers, [2]string{"connection", "Keep-Alive, TE"}) },
		"two Accepts":                func(a *ask) { a.headers = append(a.headers, [2]string{"accept", "a"}, [2]string{"accept", "b"}) },
	} {
		if v := d.check(d.read(proxytest.Refunder).with(change)); !v.allowed {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// Whatever a caller writes can be written down: long texts are cut, as valid
// text, and long values stand as commitments.
func TestLongTextsFitTheRecord(t *testing.T) {
	d := newDesk(t)
	long := "/" + strings.Repeat("%C3%A9", 8000)
	for name, change := range map[string]func(*ask){
		"path":   func(a *ask) { a.path = long },
		"denied": func(a *ask) { a.path, a.certificate = long, d.certificate(proxytest.Stranger) },
		"method": func(a *ask) { a.method = strings.Repeat("é", 100) },
	} {
		v := d.check(d.read(proxytest.Refunder).with(change))
		for _, b := range d.journal.Denials() {
			if _, err := audit.Encode(audit.Record{ID: "rec_01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: audit.TypeActionDenied, Time: proxytest.Noon(), Node: "n", Seq: 1, Body: b}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, b := range d.journal.Intents() {
			if _, err := audit.Encode(audit.Record{ID: "rec_01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: audit.TypeActionIntent, Time: proxytest.Noon(), Node: "n", Seq: 1, Body: b}); err != nil {
				t.Errorf("%s: %v (%+v)", name, err, v)
			}
		}
	}
}

// The values that the catalogue does not mark recordable, and the caller's
// headers, stand nowhere.
func TestTheRecordKeepsNoMoreThanItMay(t *testing.T) {
	d := newDesk(t)
	if v := d.check(d.refund(proxytest.Refunder).with(func(a *ask) { a.body += "&instructions_email=carol%40acme.example" })); !v.allowed {
		t.Fatalf("%+v", v)
	}
	i := d.journal.Intents()[0]
	if i.Attributes["charge"].Value != "ch_1" || i.Attributes["amount"].Value != "100" || i.Attributes["instructions_email"].Value != "" || len(i.Attributes["instructions_email"].HMAC) != 64 {
		t.Fatalf("%+v", i.Attributes)
	}
}
