package proxy

import (
	"reflect"
	"testing"
	"time"
	"unique"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func drawnValue(rt *rapid.T, of scope.Type) *feed.Value {
	v := map[scope.Type]*rapid.Generator[string]{
		scope.TypeString: rapid.String(), scope.TypePath: rapid.StringMatching(`/[a-z/é]*`), scope.TypeInteger: rapid.SampledFrom([]string{"0", "-9223372036854775808", "9223372036854775807", "64"}),
		scope.TypeBoolean: rapid.SampledFrom([]string{"true", "false"}), scope.TypeMinorUnits: rapid.SampledFrom([]string{"-1", "500"}), scope.TypeMoney: rapid.SampledFrom([]string{"42.00 usd", "7 jpy", "-3 minor eur"}),
	}[of].Draw(rt, "value")
	return &feed.Value{Type: of.String(), Value: v}
}

func drawnConstraint(rt *rapid.T) *feed.Constraint {
	of := rapid.SampledFrom([]scope.Type{scope.TypeString, scope.TypePath, scope.TypeInteger, scope.TypeBoolean, scope.TypeMinorUnits, scope.TypeMoney}).Draw(rt, "type")
	c := &feed.Constraint{Attribute: rapid.StringMatching(`[a-z"]{1,4}`).Draw(rt, "attribute"), Op: "is", Values: []*feed.Value{drawnValue(rt, of)}}
	if rapid.Bool().Draw(rt, "several") {
		c.Op = "in"
		for range rapid.IntRange(0, 3).Draw(rt, "more") {
			c.Values = append(c.Values, drawnValue(rt, of))
		}
	}
	return c
}

func drawnGrant(rt *rapid.T) *feed.Resource {
	r := refunds(grant.NewMinter().NewGrantID(noon()), rapid.SampledFrom([]string{refunder, other, "user:idp:ada"}).Draw(rt, "who"), time.Duration(rapid.IntRange(1, 86400e6).Draw(rt, "µs"))*time.Microsecond)
	g := r.GetGrant()
	g.Pseudonym, g.App, g.Entitlement = rapid.String().Draw(rt, "pseudonym"), rapid.StringN(1, 4, -1).Draw(rt, "app"), rapid.String().Draw(rt, "entitlement")
	g.Class = rapid.SampledFrom([]string{"read", "write", "money", "secret", "admin"}).Draw(rt, "class")
	g.Rules = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) *feed.Rule {
		return &feed.Rule{Operation: rapid.StringN(1, 4, -1).Draw(rt, "operation"), Where: rapid.SliceOfN(rapid.Custom(drawnConstraint), 0, 3).Draw(rt, "where")}
	}), 1, 3).Draw(rt, "rules")
	return r
}

// Nothing of a grant is lost by how it lies in memory, and nothing added; its digest is
// that of what was told.
func TestAPackedGrantIsTheGrantThatWasTold(t *testing.T) {
	var c counter // one for all: what is left over from a grant must not show in the next
	rapid.Check(t, func(rt *rapid.T) {
		r := drawnGrant(rt)
		g, err := newGrant(r)
		if err != nil {
			rt.Fatal(err)
		}
		h := &held{packed: pack(g)}
		if got := h.open(); !reflect.DeepEqual(got, g) {
			rt.Fatalf("opened\n%+v, told\n%+v", got, g)
		}
		want, _ := feed.DigestOf(r)
		if c.grant(h) != want {
			rt.Fatalf("another digest: %v", c.remaker.grant(h.open()))
		}
		if h.packed != pack(g) || h.holder() != (holder{g.Scope.App, g.Principal}) {
			rt.Fatal("packed twice, it is not the same")
		}
	})
}

// A grant whose memory is not what it was permits nothing, wherever a decision or a
// last look reads it, and shows in the digest.
func TestP2_AGrantThatCannotBeReadPermitsNothing(t *testing.T) {
	m, id := granted(t)
	h, _ := m.state.Load().byID.get(id)
	terms, values := h.terms.Value(), h.values
	var c counter
	whole := c.grant(h)
	spoil := func(name, terms, values string) {
		t.Helper()
		p := h.packed
		p.terms, p.values = unique.Make(terms), values
		spoilt := &held{packed: p}
		g := spoilt.open()
		if err := m.state.Load().permits(spoilt, g, principal(t, refunder), refund("ch_1", 1), m.Now()); err == nil || len(g.Scope.Rules) != 0 {
			t.Errorf("%s: %v, %+v", name, err, g.Scope)
		}
		if c.grant(spoilt) == whole {
			t.Errorf("%s: the digest does not show it", name)
		}
	}
	for n := range len(terms) {
		spoil("terms cut", terms[:n], values)
	}
	for n := range len(values) {
		spoil("values cut", terms, values[:n])
	}
	spoil("more terms", terms+"\x00", values)
	spoil("more values", terms, values+"\x00")
	spoil("a number without an end", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "")
	spoil("a count of many", terms[:len(terms)-1]+"\xff\xff\xff\x7f", values)
	for name, change := range map[string]func(*packed){
		"longer than any grant": func(p *packed) { p.notAfter = p.notBefore + grant.MaxTerm.Microseconds() + 1 },
		"without a beginning":   func(p *packed) { p.notBefore = 0 },
	} {
		p := h.packed
		change(&p)
		m.smuggle(&held{packed: p})
		if err := m.Look(id, m.Now()); grant.ReasonOf(err) != grant.UnsupportedGrant {
			t.Errorf("%s: a last look says %v", name, err)
		}
	}
}
