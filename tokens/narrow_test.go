package tokens_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
	"github.com/mayflyproxy/mayfly/tokens/tokenstest"
)

// TestTokenRightsNeverGrow: over random chains, whoever passes a token on gets a token
// only for a part of what it had. Whatever operation the last covers, each before it
// covers; the audience stays, and no end moves later.
func TestTokenRightsNeverGrow(t *testing.T) {
	w := newWorld(t)
	steps, passed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := w.base
		c.Audience, c.Details = tokenstest.Resource, tokenstest.Details(t)
		chain := []*tokens.Claims{issued(t, w, c)}
		for range rapid.IntRange(1, 5).Draw(t, "length") {
			last := chain[len(chain)-1]
			next := *last
			next.Details = tokenstest.Step(t, last.Details)
			next.IssuedAt = last.IssuedAt.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "later")) * time.Second)
			steps++
			if !next.Expires.After(next.IssuedAt) || tokens.Narrows(next.Details, last.Details) != nil {
				continue
			}
			passed++
			chain = append(chain, issued(t, w, next))
		}
		for range 20 {
			op := tokenstest.Operation(t)
			for i := 1; i < len(chain); i++ {
				if chain[i].Covers(op) == nil && chain[i-1].Covers(op) != nil {
					t.Fatalf("%+v is covered by %+v, and not by %+v", op, chain[i].Details, chain[i-1].Details)
				}
			}
		}
		first, last := chain[0], chain[len(chain)-1]
		if last.Expires.After(first.Expires) || last.Audience != first.Audience {
			t.Fatalf("%+v came of %+v", last, first)
		}
	})
	if passed == 0 || passed == steps {
		t.Errorf("%d of %d steps narrow: the property tries nothing", passed, steps)
	}
}

// issued signs and verifies: what comes back is what was put in.
func issued(t *rapid.T, w *world, c tokens.Claims) *tokens.Claims {
	token, err := w.issuer.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.verifier.Verify(token, c.IssuedAt, tokens.Expect{Audience: c.Audience, Presenter: c.Confirm})
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != c.Subject || got.ID != c.ID || !got.Expires.Equal(c.Expires) || got.Grant != c.Grant || got.Confirm != c.Confirm || len(got.Details) != len(c.Details) {
		t.Fatalf("%+v came back as %+v", c, got)
	}
	for i, d := range got.Details {
		for range 3 {
			op := tokenstest.Operation(t)
			if (d.Scope.Covers(op) == nil) != (c.Details[i].Scope.Covers(op) == nil) {
				t.Fatalf("%+v came back as %+v", c.Details[i], d)
			}
		}
	}
	return got
}

// TestWhatIsKeptAsItWasNarrows: the comparison is of use. A detail lies within itself,
// and stays within when a constraint is added.
func TestWhatIsKeptAsItWasNarrows(t *testing.T) {
	w := newWorld(t)
	c := w.claims(t)
	if err := tokens.Narrows(c.Details, c.Details); err != nil {
		t.Error(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		outer := c.Details
		inner := []tokens.Detail{outer[0]}
		inner[0].Scope.Rules = append(inner[0].Scope.Rules[:0:0], inner[0].Scope.Rules...)
		inner[0].Scope.Rules[0].Where = append(inner[0].Scope.Rules[0].Where[:1:1], tokenstest.Constraint(t))
		if err := tokens.Narrows(inner, outer); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTokenConstraintsNeverGrow: where one constraint is said to lie within another, no
// value tells otherwise.
func TestTokenConstraintsNeverGrow(t *testing.T) {
	within := 0
	of := func(c scope.Constraint) scope.Scope {
		return scope.Scope{App: "pay", Rules: []scope.Rule{{Operation: "x", Where: []scope.Constraint{c}}}}
	}
	rapid.Check(t, func(t *rapid.T) {
		outer := tokenstest.Constraint(t)
		inner := tokenstest.Near(t, outer)
		if !of(inner).Within(of(outer)) {
			return
		}
		within++
		for range 30 {
			v := tokenstest.Value(t, outer.Values[0].Type())
			if inner.Satisfied(v) && !outer.Satisfied(v) {
				t.Fatalf("%s meets %s, and not %s", v, inner, outer)
			}
		}
	})
	if within == 0 {
		t.Error("the property tries nothing")
	}
}
