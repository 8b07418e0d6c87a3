package proxy_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/tokens"
)

// observing is a desk whose apps stripe and wiki are in observe mode for a day.
func observing(t testing.TB) *desk {
	t.Helper()
	d := newDesk(t)
	until := proxytest.Noon().Add(24 * time.Hour)
	d.world.Add(proxytest.Observed(proxytest.Wiki(), until), proxytest.Observed(proxytest.Stripe("https://api.stripe.com"), until))
	return d
}

// Whoever has no grant passes, and the record says, as its own kind of record and before
// the request goes on, what would have been decided: nothing of it looks like an intent.
func TestObserveLetsPassWhatWouldBeDenied(t *testing.T) {
	wiki := func(who string, change func(*ask)) func(*desk) ask {
		return func(d *desk) ask { return d.read(who).with(change) }
	}
	refund := func(who string, change func(*ask)) func(*desk) ask {
		return func(d *desk) ask { return d.refund(who).with(change) }
	}
	good, nothing := func(*ask) {}, func(*desk) {}
	for _, c := range []struct {
		name    string
		prepare func(*desk)
		ask     func(*desk) ask
		code    grant.Reason // "" is would-allow
		durable bool
	}{
		{"a read without a grant", nothing, wiki(proxytest.Stranger, good), grant.NoGrant, false},
		{"a write without a grant", nothing, wiki(proxytest.Stranger, func(a *ask) { a.method = "POST" }), grant.NoGrant, true},
		{"money without a grant", nothing, refund(proxytest.Stranger, good), grant.NoGrant, true},
		{"more money than granted", nothing, refund(proxytest.Refunder, func(a *ask) { a.body = "amount=999999&charge=ch_1" }), grant.ConstraintUnmet, true},
		{"an operation that is not granted", nothing, refund(proxytest.Refunder, func(a *ask) { a.path, a.body = "/v1/payouts", "amount=1&currency=usd" }), grant.OutOfScope, true},
		{"an operation that nobody knows", nothing, refund(proxytest.Refunder, func(a *ask) { a.path = "/v1/nothing" }), grant.UnknownOperation, true},
		{"a field that nobody knows", nothing, refund(proxytest.Refunder, func(a *ask) { a.body += "&novel=1" }), grant.Malformed, true},
		{"a path of two readings", nothing, wiki(proxytest.Refunder, func(a *ask) { a.path = "/a//b" }), grant.Malformed, true},
		{"a grant that was revoked", func(d *desk) { d.world.End(d.wiki, grant.Revoked) }, wiki(proxytest.Refunder, good), grant.Revoked, false},
		{"a locked caller", func(d *desk) { d.world.End(d.wiki, grant.Locked) }, wiki(proxytest.Refunder, good), grant.Locked, false},
		{"a grant that is over", func(d *desk) { d.world.Pass(time.Hour); d.world.Pong() }, wiki(proxytest.Refunder, good), grant.Ended, false},
		{"a read with a grant", nothing, wiki(proxytest.Refunder, good), "", false},
		{"money with a grant", nothing, refund(proxytest.Refunder, good), "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := observing(t)
			c.prepare(d)
			said := 0
			d.journal.BeforeIntent = func(context.Context) error { said++; return nil }
			v := d.check(c.ask(d))
			got := d.journal.Observations()
			if !v.allowed || len(got) != 1 || said != 1 || len(d.journal.Intents())+len(d.journal.Denials()) != 0 {
				t.Fatalf("%+v, on record %+v, %+v, %+v", v, got, d.journal.Intents(), d.journal.Denials())
			}
			o := got[0]
			if o.Code != string(c.code) || (o.Grant == "") != (c.code != "") || o.Action != v.meta["action"] || o.App == "" || o.Ask.Method == "" || o.Until.IsZero() {
				t.Errorf("on record %+v", o)
			}
			if want := proxytest.Refunder; c.code == grant.NoGrant && o.Principal != proxytest.Stranger || c.code == "" && o.Principal == want {
				t.Errorf("on record for %s", o.Principal)
			}
			if d.journal.Durable(o.Action) != c.durable {
				t.Errorf("fsynced: %t", !c.durable)
			}
			if len(d.reserver.asked) != 0 {
				t.Error("the control plane was asked to acknowledge what nobody decided")
			}
			if slices.Contains(v.removed, "authorization") {
				t.Error("the caller's own credential was taken out")
			}
		})
	}
}

// What is wrong with the request itself, with who makes it, or with the gateway is no
// matter of grants: it is refused as ever.
func TestP5_ObserveRefusesWhatIsNoMatterOfGrants(t *testing.T) {
	wiki := func(change func(*ask)) func(*desk) ask {
		return func(d *desk) ask { return d.read(proxytest.Stranger).with(change) }
	}
	good, nothing := func(*ask) {}, func(*desk) {}
	for _, c := range []struct {
		name    string
		prepare func(*desk)
		ask     func(*desk) ask
		reason  grant.Reason
	}{
		{"no certificate", nothing, wiki(func(a *ask) { a.certificate = "" }), grant.NoIdentity},
		{"a certificate that is over", func(d *desk) { d.world.Pass(4 * time.Hour); d.world.Pong() }, wiki(good), grant.BadCertificate},
		{"another host's name in TLS", nothing, wiki(func(a *ask) { a.sni = "stripe.acme.example" }), grant.ConflictingHeaders},
		{"two request lines", nothing, wiki(func(a *ask) { a.told = true }), grant.ConflictingHeaders},
		{"no path", nothing, wiki(func(a *ask) { a.path = "" }), grant.Malformed},
		{"a path of the gateway's", nothing, wiki(func(a *ask) { a.path = "/.mayfly/callback" }), grant.UnknownOperation},
		{"a part of a body", nothing, func(d *desk) ask { return d.refund(proxytest.Stranger).with(func(a *ask) { a.partial = true }) }, grant.BodyTooLarge},
		{"a body of which nobody knows whether it is whole", nothing, func(d *desk) ask { return d.refund(proxytest.Stranger).with(func(a *ask) { a.unmarked = true }) }, grant.BodyTooLarge},
		{"an app with a credential past the hop", nothing, func(d *desk) ask { return d.refund(proxytest.Stranger).with(func(a *ask) { a.hop = false }) }, grant.Internal},
		{"a gateway that hears nothing", func(d *desk) { d.world.Pass(15 * time.Second) }, wiki(good), grant.Stale},
		{"a record that takes nothing", func(d *desk) {
			d.journal.BeforeIntent = func(context.Context) error { return errors.New("no room") }
		}, wiki(good), grant.RecordUnavailable},
		{"enforced while the record is waited for", func(d *desk) {
			d.journal.BeforeIntent = func(context.Context) error { d.world.Add(proxytest.Wiki()); return nil }
		}, wiki(good), grant.PolicyChanged},
		{"stale while the record is waited for", func(d *desk) {
			d.journal.BeforeIntent = func(context.Context) error { d.world.Pass(15 * time.Second); return nil }
		}, wiki(good), grant.Stale},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := observing(t)
			c.prepare(d)
			if v := d.check(c.ask(d)); v.allowed || v.reason != c.reason {
				t.Fatalf("%+v, want %s", v, c.reason)
			}
			for _, o := range d.journal.Observations() {
				done := d.journal.Outcomes()
				if len(done) != 1 || done[0].Action != o.Action || done[0].Result != audit.ResultNotSent {
					t.Errorf("the record leaves open what became of it: %+v", done)
				}
			}
		})
	}
}

// An app in observe mode opens nothing beside it, and leaves no action that another way
// would take.
func TestObserveOpensNothingElsewhere(t *testing.T) {
	d := newDesk(t)
	d.world.Add(proxytest.Observed(proxytest.Wiki(), proxytest.Noon().Add(time.Hour)))
	if v := d.check(d.read(proxytest.Stranger)); !v.allowed {
		t.Fatalf("%+v", v)
	}
	if v := d.check(d.refund(proxytest.Stranger)); v.reason != grant.NoGrant {
		t.Errorf("an enforced app beside it: %+v", v)
	}
	v := d.check(d.refund(proxytest.Refunder))
	if !v.allowed || len(d.reserver.asked) != 1 || len(d.journal.Intents()) != 1 {
		t.Errorf("an enforced app beside it, with a grant: %+v", v)
	}
	seen := d.check(d.read(proxytest.Stranger))
	if _, err := d.actions.Take(actionID(t, seen.meta["action"]), "GET", "wiki.acme.example", "/docs/a?b=c", d.world.Now()); err == nil {
		t.Error("the hop took the action of a direct app")
	}
}

// The end is kept by the gateway's own clock, with nobody to tell it, and nothing that
// passed undecided lasts longer. From then on the app is enforced as any other.
func TestP3_ObservingEndsByTheGatewaysOwnClock(t *testing.T) {
	d := newDesk(t)
	until := proxytest.Noon().Add(5 * time.Second)
	d.world.Add(proxytest.Observed(proxytest.Wiki(), until))
	d.world.Pass(3 * time.Second)
	v := d.check(d.read(proxytest.Stranger))
	if !v.allowed || v.header["grpc-timeout"] != "2000m" {
		t.Fatalf("%+v", v)
	}
	d.world.Pass(2 * time.Second) // no Pong
	if v := d.check(d.read(proxytest.Stranger)); v.allowed || v.reason != grant.NoGrant {
		t.Errorf("after the end: %+v", v)
	}
	if v := d.check(d.read(proxytest.Refunder)); !v.allowed || len(d.journal.Intents()) != 1 {
		t.Errorf("after the end, with a grant: %+v", v)
	}
}

// A gateway in production, as its own SPIFFE ID says, holds no app that is observed
// without an end, or with one further away than the compiled cap: whatever policy says.
func TestAGatewayInProductionRefusesToObserveForLong(t *testing.T) {
	const day = 24 * time.Hour
	stage := "spiffe://acme.example/staging/gw/sidecar"
	for name, c := range map[string]struct {
		sidecar string
		until   time.Duration // 0: no end
		held    bool
		passes  bool
	}{
		"production, no end":               {proxytest.Sidecar, 0, false, false},
		"production, 30 days and a moment": {proxytest.Sidecar, 30*day + time.Second, false, false},
		"production, 30 days":              {proxytest.Sidecar, 30 * day, true, true},
		"production, it is over":           {proxytest.Sidecar, -time.Second, true, false},
		"a gateway without a name, no end": {"", 0, false, false},
		"staging, no end":                  {stage, 0, true, true},
		"staging, a year":                  {stage, 365 * day, true, true},
		"staging, it is over":              {stage, -time.Second, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.world = proxytest.NewWorldAt(t, c.sidecar)
			d.build(&proxytest.Journal{})
			until := time.Time{}
			if c.until != 0 {
				until = d.world.Now().Add(c.until)
			}
			_, nacks, err := d.world.Apply(t.Context(), d.world.Next(proxytest.Observed(proxytest.Wiki(), until)))
			if err != nil || (len(nacks) == 0) != c.held {
				t.Fatal(err, nacks)
			}
			want := grant.UnknownApp
			if c.held {
				want = grant.NoGrant
			}
			if v := d.check(d.read(proxytest.Stranger)); v.allowed != c.passes || !v.allowed && v.reason != want {
				t.Errorf("%+v, want %t or %s", v, c.passes, want)
			}
		})
	}
}

// Before the time is known nobody can tell whether an end is too far away: then each
// request does, once it is known.
func TestAnEndIsJudgedAgainWhenTheTimeIsKnown(t *testing.T) {
	d := newDesk(t)
	d.world = proxytest.NewEmptyWorld(t)
	d.build(&proxytest.Journal{})
	far := proxytest.Observed(proxytest.Wiki(), proxytest.Noon().Add(31*24*time.Hour))
	at := feed.Position{Epoch: 1, Revision: 10}
	if _, nacks, err := feedtest.Swap(t.Context(), d.world, at, []*feed.Resource{far}); err != nil || len(nacks) > 0 {
		t.Fatal(err, nacks)
	}
	d.world.Pong()
	if v := d.check(d.read(proxytest.Stranger)); v.allowed || v.reason != grant.NoGrant {
		t.Errorf("%+v", v)
	}
}

// A gateway of before observe mode does not hold such an app: it would enforce what is
// only to be looked at, and inject what is not to be injected.
func TestAnOlderGatewayRefusesAnObservedApp(t *testing.T) {
	r := proxytest.Observed(proxytest.Wiki(), proxytest.Noon().Add(time.Hour))
	if n := feed.Unsupported(r, 4); n == nil || feed.Unsupported(r, proxy.Reader) != nil {
		t.Errorf("%v, %v", n, feed.Unsupported(r, proxy.Reader))
	}
}

// An app that takes its login from the gateway's headers would be opened by them: in
// observe mode nobody is told to it, and nobody without a login passes.
func TestObserveTellsTheAppNobody(t *testing.T) {
	d, _, visits := newFront(t)
	d.world.Add(proxytest.Observed(proxytest.Panel(), proxytest.Noon().Add(time.Hour)))
	d.world.End(visits, grant.Revoked)
	v := d.check(signedIn())
	if !v.allowed || len(d.journal.Observations()) != 1 || d.journal.Observations()[0].Principal != "p_alice" {
		t.Fatalf("%+v", v)
	}
	for _, h := range []string{"x-auth-account", "x-auth-email", "x-auth-groups", "x-auth-name", "x-auth-person"} {
		if v.header[h] != "" || !slices.Contains(v.removed, h) {
			t.Errorf("%s: told %q, the caller's own taken out: %t", h, v.header[h], slices.Contains(v.removed, h))
		}
	}
	if v := d.check(visit("")); v.allowed {
		t.Errorf("nobody logged in: %+v", v)
	}
}

// A token of the gateway's is no credential that the caller brought: it still reaches no
// app, and one that does not count is refused as anywhere.
func TestP7_ATokenOfOursReachesNoObservedApp(t *testing.T) {
	b := newBearer(t)
	b.world.Add(proxytest.Observed(proxytest.Wiki(), b.world.Now().Add(time.Hour)))
	v := b.check(b.present("Bearer " + b.issuer.Sign(b.claims())))
	if !v.allowed || !slices.Contains(v.removed, "authorization") {
		t.Errorf("a token that counts: %+v", v)
	}
	over := b.claims(func(c *tokens.Claims) { c.Confirm = tokens.Confirmation{X5T: [32]byte{1}} })
	if v := b.check(b.present("Bearer " + b.issuer.Sign(over))); v.allowed || v.reason != grant.TokenNotBound {
		t.Errorf("another's token: %+v", v)
	}
}

// Who does not count at this gateway at all does not count for an observed app.
func TestObserveAsksWhoCalls(t *testing.T) {
	d := newDesk(t)
	wiki := proxytest.Observed(proxytest.Wiki(), proxytest.Noon().Add(time.Hour))
	wiki.GetApp().Places = []*feed.Place{{Sidecar: proxytest.Sidecar, TrustDomains: []string{"other.example"}}}
	d.world.Add(wiki)
	if v := d.check(d.read(proxytest.Stranger)); v.allowed || v.reason != grant.BadCertificate {
		t.Errorf("%+v", v)
	}
}
