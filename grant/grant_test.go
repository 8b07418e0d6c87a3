package grant

import (
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

func principal(t *testing.T, s string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const refunder = "spiffe://acme.example/ns/pay/sa/refunder"

// good is in force at noon.
func good(t *testing.T) Grant {
	t.Helper()
	m := NewMinter()
	return Grant{
		ID: m.NewGrantID(noon()), Request: m.NewRequestID(noon()), Principal: principal(t, refunder), Entitlement: "stripe/refunds", Class: scope.ClassMoney,
		Scope: scope.Scope{App: "stripe", Rules: []scope.Rule{{Operation: "refunds.create", Where: []scope.Constraint{
			{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.MinorUnits(5000)}},
		}}}},
		NotBefore: noon().Add(-time.Minute), NotAfter: noon().Add(time.Minute),
	}
}

func noon() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }

func operation() scope.Operation {
	return scope.Operation{App: "stripe", Name: "refunds.create", Class: scope.ClassMoney, Attributes: scope.Attributes{"amount": scope.MinorUnits(4200)}}
}

// TestP2_OnlyWhatAGrantCoversPasses changes a good grant or request in one way.
func TestP2_OnlyWhatAGrantCoversPasses(t *testing.T) {
	now := noon()
	for _, c := range []struct {
		name   string
		change func(*Grant, *identity.Principal, *scope.Operation)
		want   Reason // "" is permitted
	}{
		{"as granted", func(*Grant, *identity.Principal, *scope.Operation) {}, ""},
		{"another workload", func(_ *Grant, p *identity.Principal, _ *scope.Operation) { *p = principal(t, refunder+"2") }, NoGrant},
		{"a person of the same name", func(_ *Grant, p *identity.Principal, _ *scope.Operation) { *p = principal(t, "user:idp:refunder") }, NoGrant},
		{"nobody", func(_ *Grant, p *identity.Principal, _ *scope.Operation) { *p = identity.Principal{} }, NoGrant},
		{"nobody, and a grant of nobody", func(g *Grant, p *identity.Principal, _ *scope.Operation) {
			*p, g.Principal = identity.Principal{}, identity.Principal{}
		}, NoGrant},
		{"another operation", func(_ *Grant, _ *identity.Principal, op *scope.Operation) { op.Name = "payouts.create" }, OutOfScope},
		{"no operation", func(_ *Grant, _ *identity.Principal, op *scope.Operation) { *op = scope.Operation{} }, OutOfScope},
		{"another app", func(_ *Grant, _ *identity.Principal, op *scope.Operation) { op.App = "wiki" }, OutOfScope},
		{"over the amount", func(_ *Grant, _ *identity.Principal, op *scope.Operation) {
			op.Attributes = scope.Attributes{"amount": scope.MinorUnits(5001)}
		}, ConstraintUnmet},
		{"without an amount", func(_ *Grant, _ *identity.Principal, op *scope.Operation) { op.Attributes = nil }, ConstraintUnmet},
		{"empty scope", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.Scope = scope.Scope{} }, UnsupportedGrant},
		{"scope without rules", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.Scope.Rules = nil }, UnsupportedGrant},
		{"constraint of an unknown kind", func(g *Grant, _ *identity.Principal, _ *scope.Operation) {
			g.Scope.Rules[0].Where[0].Comparison = "near"
		}, ConstraintUnmet},
		{"at the instant it begins", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.NotBefore = now }, ""},
		{"just before it begins", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.NotBefore = now.Add(1) }, NotYet},
		{"just before it ends", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.NotAfter = now.Add(1) }, ""},
		{"at the instant it ends", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.NotAfter = now }, Ended},
		{"revoked", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.Revoked = now }, Revoked},
		{"revoked later, by a clock ahead of ours", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.Revoked = now.Add(time.Hour) }, Revoked},
		{"ended by a policy change", func(g *Grant, _ *identity.Principal, _ *scope.Operation) {
			g.Revoked, g.EndedEarly = now, PolicyChanged
		}, PolicyChanged},
		{"ended by a lock", func(g *Grant, _ *identity.Principal, _ *scope.Operation) {
			g.Revoked, g.EndedEarly = now, Locked
		}, Locked},
		{"ended for want of use", func(g *Grant, _ *identity.Principal, _ *scope.Operation) {
			g.Revoked, g.EndedEarly = now, Idle
		}, Idle},
		{"finished", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.Finished = now }, Ended},
		{"revoked before it begins", func(g *Grant, _ *identity.Principal, _ *scope.Operation) {
			g.NotBefore, g.Revoked = now.Add(time.Second), now
		}, Revoked},
		{"revoked, and its time is over", func(g *Grant, _ *identity.Principal, _ *scope.Operation) { g.NotAfter, g.Revoked = now, now }, Revoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, p, op := good(t), principal(t, refunder), operation()
			c.change(&g, &p, &op)
			err := g.Permits(p, op, now)
			if got := ReasonOf(err); got != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			var d *Denial
			if err != nil && (!errors.As(err, &d) || d.Sentence == "") {
				t.Errorf("the refusal %v has no sentence", err)
			}
		})
	}
}

func TestP2_TheZeroGrantPermitsNothing(t *testing.T) {
	var g Grant
	for _, p := range []identity.Principal{{}, principal(t, refunder)} {
		if err := g.Permits(p, operation(), noon()); ReasonOf(err) != NoGrant {
			t.Errorf("%q: %v", p, err)
		}
	}
	if err := g.InForce(noon()); ReasonOf(err) != UnsupportedGrant {
		t.Errorf("in force: %v", err)
	}
}

// TestP1_NoGrantWithoutAnEnd has every way to leave the end out or too late: none
// may be stored, received, or enforced.
func TestP1_NoGrantWithoutAnEnd(t *testing.T) {
	if MaxTerm != 24*time.Hour {
		t.Fatalf("the compiled cap is %s: docs and promises say 24 h", MaxTerm)
	}
	now := noon()
	for _, c := range []struct {
		name          string
		before, after time.Time
		ok            bool
	}{
		{"a minute", now.Add(-time.Minute), now.Add(time.Minute), true},
		{"the cap", now.Add(-time.Hour), now.Add(MaxTerm - time.Hour), true},
		{"over the cap", now.Add(-time.Hour), now.Add(MaxTerm - time.Hour + 1), false},
		{"a year", now.Add(-time.Hour), now.AddDate(1, 0, 0), false},
		{"a time that overflows", now.Add(-time.Hour), time.Unix(1<<62, 0), false},
		{"no end", now.Add(-time.Hour), time.Time{}, false},
		{"no beginning", time.Time{}, now.Add(time.Hour), false},
		{"neither", time.Time{}, time.Time{}, false},
		{"the end before the beginning", now, now.Add(-time.Hour), false},
		{"no time at all", now, now, false},
		{"a beginning long ago", time.Unix(-1<<40, 0), now.Add(time.Hour), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := good(t)
			g.NotBefore, g.NotAfter = c.before, c.after
			if err := g.Check(); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrTerm) {
				t.Errorf("Check: %v, want ok %v", err, c.ok)
			}
			if err := g.Permits(principal(t, refunder), operation(), now); (err == nil) != c.ok {
				t.Errorf("Permits: %v, want ok %v", err, c.ok)
			}
		})
	}
}

func TestCheckRefusesAGrantThatIsNotWhole(t *testing.T) {
	for name, change := range map[string]func(*Grant){
		"no id":        func(g *Grant) { g.ID = GrantID{} },
		"no principal": func(g *Grant) { g.Principal = identity.Principal{} },
		"no app":       func(g *Grant) { g.Scope.App = "" },
		"no rules":     func(g *Grant) { g.Scope.Rules = nil },
	} {
		g := good(t)
		change(&g)
		if g.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if g := good(t); g.Check() != nil {
		t.Error("a good grant is refused")
	}
}

func TestStateAndEndAgree(t *testing.T) {
	now := noon()
	for _, c := range []struct {
		name   string
		change func(*Grant)
		state  State
		ends   time.Time
	}{
		{"active", func(*Grant) {}, Active, now.Add(time.Minute)},
		{"scheduled", func(g *Grant) { g.NotBefore = now.Add(time.Second) }, Scheduled, now.Add(time.Minute)},
		{"ended", func(g *Grant) { g.NotAfter = now }, EndedState, now},
		{"revoked", func(g *Grant) { g.Revoked = now.Add(-time.Second) }, RevokedState, now.Add(-time.Second)},
		{"not used", func(g *Grant) { g.Revoked, g.EndedEarly = now.Add(-time.Second), Idle }, EndedState, now.Add(-time.Second)},
		{"finished", func(g *Grant) { g.Finished = now.Add(-time.Second) }, EndedState, now.Add(-time.Second)},
		{"finished, then revoked", func(g *Grant) { g.Finished, g.Revoked = now.Add(-2), now.Add(-1) }, RevokedState, now.Add(-2)},
		{"a mark after the end moves nothing", func(g *Grant) { g.NotAfter, g.Finished = now, now.Add(time.Hour) }, EndedState, now},
	} {
		g := good(t)
		c.change(&g)
		if g.StateAt(now) != c.state || !g.EndsAt().Equal(c.ends) {
			t.Errorf("%s: %s, ends %s; want %s, %s", c.name, g.StateAt(now), g.EndsAt(), c.state, c.ends)
		}
		if in := g.InForce(now) == nil; in != (c.state == Active) {
			t.Errorf("%s: in force %v", c.name, in)
		}
	}
}
