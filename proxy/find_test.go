package proxy

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

func TestTheGrantThatEndsLastIsChosenThenTheSmallestID(t *testing.T) {
	m, ids := newMemory(t), newIDs()
	short, first, second, wide := ids.next(), ids.next(), ids.next(), ids.next()
	m.swap(stripeApp(), refunds(short, refunder, time.Hour), refunds(second, refunder, 2*time.Hour), refunds(first, refunder, 2*time.Hour), refunds(wide, other, 3*time.Hour))
	m.pong(m.machine.plane())
	if g, r := m.find(refunder, 100); g.ID != first {
		t.Fatalf("chose %s (%s), want %s", g.ID, r, first)
	}
	g, err := m.Find(principal(t, refunder), refund("ch_1", 1), m.Now(), short)
	if err != nil || g.ID != short {
		t.Fatalf("presented %s, got %s (%v)", short, g.ID, err)
	}
	m.revoke(first, grant.Revoked)
	if g, _ := m.find(refunder, 100); g.ID != second {
		t.Fatalf("chose %s, want %s", g.ID, second)
	}
	for name, id := range map[string]grant.GrantID{"another principal's": wide, "an unknown one": ids.next()} {
		if _, err := m.Find(principal(t, refunder), refund("ch_1", 1), m.Now(), id); grant.ReasonOf(err) != grant.NoGrant {
			t.Errorf("presented %s: %v", name, err)
		}
	}
	if _, err := m.Find(principal(t, refunder), refund("ch_1", 1), m.Now(), first); grant.ReasonOf(err) != grant.Revoked {
		t.Errorf("presented a revoked one: %v", err)
	}
	if _, err := m.Find(identity.Principal{}, refund("ch_1", 1), m.Now(), grant.GrantID{}); grant.ReasonOf(err) != grant.NoIdentity {
		t.Errorf("nobody: %v", err)
	}
}

// What one grant allows of a charge and another of an amount is not added up: each of the
// holder's grants of one entitlement covers what it was asked for with, and no more.
func TestGrantsOfOneHolderAreNotAddedUp(t *testing.T) {
	m, ids := newMemory(t), newIDs()
	first, second := ids.next(), ids.next()
	with := func(id grant.GrantID, charge, amount string) *feed.Resource {
		r := refunds(id, refunder, time.Hour)
		where := r.GetGrant().GetRules()[0].GetWhere()
		where[0].GetValues()[0].Value, where[1].GetValues()[0].Value = charge, amount
		return r
	}
	m.swap(stripeApp(), with(first, "ch_1", "500"), with(second, "ch_2", "100"))
	m.pong(m.machine.plane())
	for _, c := range []struct {
		op    scope.Operation
		under grant.GrantID // zero: none
	}{
		{refund("ch_1", 500), first}, {refund("ch_2", 100), second},
		{refund("ch_2", 101), grant.GrantID{}}, {refund("ch_2", 500), grant.GrantID{}}, {refund("ch_1", 501), grant.GrantID{}}, {refund("ch_3", 1), grant.GrantID{}},
	} {
		for _, presented := range []grant.GrantID{{}, first, second} {
			under := c.under
			if !presented.IsZero() && presented != under {
				under = grant.GrantID{} // the token's grant or none
			}
			g, err := m.Find(principal(t, refunder), c.op, m.Now(), presented)
			if g.ID != under || under.IsZero() && grant.ReasonOf(err) != grant.ConstraintUnmet {
				t.Errorf("%v with a token of %q: under %q (%v), want %q", c.op.Attributes, presented, g.ID, err, under)
			}
		}
	}
}

// Of grants that are over, the one is told that the caller had until just now, not
// the one that would have lasted longest.
func TestTheEndThatWasJustNowIsTold(t *testing.T) {
	m, ids := newMemory(t), newIDs()
	long, short := ids.next(), ids.next()
	m.swap(stripeApp(), refunds(long, refunder, 2*time.Hour), refunds(short, refunder, time.Hour))
	m.pong(m.machine.plane())
	m.revoke(long, grant.Ended)
	m.machine.pass(time.Minute)
	m.pong(m.machine.plane())
	m.revoke(short, grant.PolicyChanged)
	if _, r := m.find(refunder, 100); r != grant.PolicyChanged {
		t.Errorf("told %s, want %s", r, grant.PolicyChanged)
	}
}

// TestTheNearestMissIsTold gives one principal several grants and asks for a
// refund of 100 of ch_1, as a table of what each of them would say.
func TestTheNearestMissIsTold(t *testing.T) {
	read := func(r *feed.Resource) { r.GetGrant().Rules = r.GetGrant().GetRules()[1:] }
	charge2 := func(r *feed.Resource) { r.GetGrant().GetRules()[0].GetWhere()[0].GetValues()[0].Value = "ch_2" }
	later := func(r *feed.Resource) {
		r.GetGrant().NotBeforeUs += time.Hour.Microseconds()
		r.GetGrant().NotAfterUs += time.Hour.Microseconds()
	}
	over := func(r *feed.Resource) {
		r.GetGrant().NotBeforeUs -= time.Hour.Microseconds()
		r.GetGrant().NotAfterUs -= time.Hour.Microseconds()
	}
	newer := func(r *feed.Resource) { r.MinReader = Reader + 1 }
	plain := func(*feed.Resource) {}
	for _, c := range []struct {
		name   string
		grants []func(*feed.Resource)
		revoke grant.Reason // why the first is removed, "" is not
		want   grant.Reason
	}{
		{"nothing", nil, "", grant.NoGrant},
		{"another charge", []func(*feed.Resource){charge2}, "", grant.ConstraintUnmet},
		{"another operation", []func(*feed.Resource){read}, "", grant.OutOfScope},
		{"over by time", []func(*feed.Resource){over}, "", grant.Ended},
		{"not begun", []func(*feed.Resource){later}, "", grant.NotYet},
		{"revoked", []func(*feed.Resource){plain}, grant.Revoked, grant.Revoked},
		{"finished", []func(*feed.Resource){plain}, grant.Ended, grant.Ended},
		{"ended by policy", []func(*feed.Resource){plain}, grant.PolicyChanged, grant.PolicyChanged},
		{"removed for a reason that is not known here", []func(*feed.Resource){plain}, "eclipse", grant.Revoked},
		{"not understood", []func(*feed.Resource){newer}, "", grant.UnsupportedGrant},
		{"revoked, and would not have covered it", []func(*feed.Resource){read}, grant.Revoked, grant.NoGrant},
		{"a constraint before an operation", []func(*feed.Resource){read, charge2}, "", grant.ConstraintUnmet},
		{"an operation before what is revoked", []func(*feed.Resource){plain, read}, grant.Revoked, grant.OutOfScope},
		{"what begins before what is over", []func(*feed.Resource){over, later}, "", grant.NotYet},
		{"what is over before what is not understood", []func(*feed.Resource){newer, over}, "", grant.Ended},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ids := newMemory(t), newIDs()
			m.swap(stripeApp())
			m.pong(m.machine.plane())
			var first grant.GrantID
			for n, change := range c.grants {
				id := ids.next()
				r := refunds(id, refunder, time.Hour)
				change(r)
				m.add(r)
				if n == 0 {
					first = id
				}
			}
			if c.revoke != "" {
				m.revoke(first, c.revoke)
			}
			if got := m.reason(); got != c.want {
				t.Fatalf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestADenialNamesTheSmallestEntitlementAndHowToAsk(t *testing.T) {
	m, _ := granted(t)
	person, err := identity.User("idp", "alice")
	if err != nil {
		t.Fatal(err)
	}
	with := func(op scope.Operation, name string, v scope.Value) scope.Operation {
		op.Attributes[name] = v
		return op
	}
	for _, c := range []struct {
		name        string
		who         identity.Principal
		op          scope.Operation
		entitlement string
		next        string
	}{
		{"a workload", principal(t, other), refund("ch_1", 4200), "stripe/refunds", "mayfly request stripe/refunds --param amount_max=4200 --param charge=ch_1"},
		{"a person", person, refund("ch_1", 4200), "stripe/refunds-by-people", "mayfly request stripe/refunds-by-people"},
		{"over the amount", principal(t, refunder), refund("ch_1", 501), "stripe/refunds", "mayfly request stripe/refunds --param amount_max=501 --param charge=ch_1"},
		{"a parameter that the request does not tell", principal(t, other), scope.Operation{App: "stripe", Name: "charges.retrieve"}, "stripe/refunds", "mayfly request stripe/refunds --param amount_max=… --param charge=…"},
		{"only the large one covers it", principal(t, other), scope.Operation{App: "stripe", Name: "payouts.create"}, "stripe/everything", "mayfly request stripe/everything"},
		{"nothing covers it", principal(t, other), scope.Operation{App: "stripe", Name: "accounts.delete"}, "", ""},
		{"a value made to be pasted", principal(t, other), with(refund("", 1), "charge", scope.Text("ch_1; rm -rf '~'\r\n$(id)")), "stripe/refunds",
			`mayfly request stripe/refunds --param amount_max=1 --param 'charge=ch_1; rm -rf '\''~'\''$(id)'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Find(c.who, c.op, m.Now(), grant.GrantID{})
			d := grant.Of(err)
			if d == nil || d.Entitlement != c.entitlement || d.Next != c.next {
				t.Fatalf("denial %+v, want %q and %q", d, c.entitlement, c.next)
			}
		})
	}
	m.machine.pass(time.Minute)
	_, err = m.Find(principal(t, other), refund("ch_1", 1), m.Now(), grant.GrantID{})
	if d := grant.Of(err); d.Reason != grant.Stale || d.Next != "" {
		t.Errorf("a stale gateway advises %q", d.Next)
	}
}

func TestQuoteMakesOneWord(t *testing.T) {
	for in, want := range map[string]string{
		"charge=ch_1": "charge=ch_1", "": "''", "a b": "'a b'", "a'b": `'a'\''b'`, "-x": "-x", "a\x1b[2Jb": "'a[2Jb'", "a\u202eb": "ab", "`id`": "'`id`'", "~": "'~'", "#": "'#'",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// The model: a list of grants, searched from end to end. The table, after any
// changes by deltas and snapshots, chooses and refuses as the model does.
func TestTheTableAgainstAModel(t *testing.T) {
	whos := []string{refunder, other}
	rapid.Check(t, func(rt *rapid.T) {
		m, ids := newMemory(t), newIDs()
		m.swap(stripeApp())
		m.pong(m.machine.plane())
		model := map[string]*feed.Resource{}
		draw := func(rt *rapid.T) *feed.Resource {
			r := refunds(ids.next(), rapid.SampledFrom(whos).Draw(rt, "who"), time.Duration(rapid.IntRange(1, 3).Draw(rt, "hours"))*time.Hour)
			r.GetGrant().GetRules()[0].GetWhere()[1].GetValues()[0].Value = rapid.SampledFrom([]string{"100", "500"}).Draw(rt, "amount")
			return r
		}
		pick := func(rt *rapid.T) string {
			if len(model) == 0 {
				rt.Skip()
			}
			keys := make([]string, 0, len(model))
			for id := range model {
				keys = append(keys, id)
			}
			slices.Sort(keys)
			return rapid.SampledFrom(keys).Draw(rt, "id")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				r := draw(rt)
				m.add(r)
				model[r.GetId()] = r
			},
			"replace": func(rt *rapid.T) {
				id := pick(rt)
				r := draw(rt)
				r.Id = id
				m.add(r)
				model[id] = r
			},
			"remove": func(rt *rapid.T) {
				id := pick(rt)
				m.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id, Reason: "revoked"}}})
				delete(model, id)
			},
			"refuse": func(rt *rapid.T) {
				id := pick(rt)
				r := draw(rt)
				r.Id, r.MinReader = id, Reader+1
				m.add(r)
				delete(model, id)
			},
			"resync": func(*rapid.T) {
				all := []*feed.Resource{stripeApp()}
				for _, r := range model {
					all = append(all, r)
				}
				m.swap(all...)
			},
			"pass": func(rt *rapid.T) {
				m.machine.pass(time.Duration(rapid.IntRange(0, 50).Draw(rt, "minutes")) * time.Minute)
				m.pong(m.machine.plane())
			},
			"": func(rt *rapid.T) {
				if n := m.Status().Grants; n != len(model) {
					rt.Fatalf("the table holds %d grants, the model %d", n, len(model))
				}
				for _, who := range whos {
					for _, amount := range []int64{50, 400, 600} {
						want := choose(model, who, amount, m.Now())
						g, reason := m.find(who, amount)
						if g.ID.String() != want || (reason == "") != (want != "") {
							rt.Fatalf("%s asks for %d: table says %q %q, model %q", who, amount, g.ID, reason, want)
						}
						if want != "" && m.Look(g.ID, m.Now()) != nil {
							rt.Fatalf("found %s, and the last look refuses it", want)
						}
					}
				}
			},
		})
	})
}

// choose searches the model.
func choose(model map[string]*feed.Resource, who string, amount int64, now time.Time) string {
	best, end := "", int64(0)
	for id, r := range model {
		g := r.GetGrant()
		limit := int64(500)
		if g.GetRules()[0].GetWhere()[1].GetValues()[0].GetValue() == "100" {
			limit = 100
		}
		if g.GetPrincipal() != who || amount > limit || now.UnixMicro() >= g.GetNotAfterUs() {
			continue
		}
		if g.GetNotAfterUs() > end || g.GetNotAfterUs() == end && strings.Compare(id, best) < 0 {
			best, end = id, g.GetNotAfterUs()
		}
	}
	return best
}

func TestShardsAreNeverChangedOnceShared(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, model := newShards[int, int](), map[int]int{}
		s.share()
		for range rapid.IntRange(1, 50).Draw(rt, "edits") {
			before, was := s, maps.Clone(model)
			s = s.edit()
			for n := range rapid.IntRange(1, 5).Draw(rt, "steps") {
				k := rapid.IntRange(0, 20).Draw(rt, "key")
				if rapid.Bool().Draw(rt, "put") {
					s.put(k, n)
					model[k] = n
				} else {
					s.remove(k)
					delete(model, k)
				}
			}
			s.share()
			if !maps.Equal(entries(before), was) || before.size != len(was) {
				rt.Fatalf("the shared one is %v, was %v", entries(before), was)
			}
			if !maps.Equal(entries(s), model) || s.size != len(model) {
				rt.Fatalf("%v, size %d, want %v", entries(s), s.size, model)
			}
			for k := range 21 {
				v, ok := s.get(k)
				if want, had := model[k]; v != want || ok != had {
					rt.Fatalf("%d is %d, want %d", k, v, want)
				}
			}
		}
	})
}

func entries(s *shards[int, int]) map[int]int {
	out := map[int]int{}
	s.all(func(k, v int) bool { out[k] = v; return true })
	return out
}

// A single change to a large table costs about as much as to a small one.
func BenchmarkApplyToALargeTable(b *testing.B) {
	m := newTable(b)
	ids, all := newIDs(), []*feed.Resource{stripeApp()}
	for range 20000 {
		id := ids.next()
		all = append(all, refunds(id, refunder+"/"+id.String(), time.Hour))
	}
	if _, _, err := feedtest.Swap(b.Context(), m, feed.Position{Epoch: 1, Revision: 1}, all); err != nil {
		b.Fatal(err)
	}
	for n := range b.N {
		id := ids.next()
		d := &feed.Delta{Epoch: 1, Revision: int64(n) + 2, Resources: []*feed.Resource{refunds(id, refunder+"/"+id.String(), time.Hour)}}
		if _, _, err := m.Apply(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
}

// newTable is an empty one on the machine's own clock.
func newTable(tb testing.TB) *Table {
	tb.Helper()
	clock, err := OpenClock(ClockConfig{Mark: filepath.Join(tb.TempDir(), "mark")})
	if err != nil {
		tb.Fatal(err)
	}
	m, err := NewTable(TableConfig{Clock: clock})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// One holder may hold many grants that differ in a value only: to find the right one,
// or that none is, takes no memory for each.
func TestManyGrantsOfOneHolderTakeNoMemoryEach(t *testing.T) {
	cost := func(n int) (hit, miss float64) {
		m, ids := newMemory(t), newIDs()
		told, right := []*feed.Resource{stripeApp()}, grant.GrantID{}
		for i := range n {
			right = ids.next()
			r := refunds(right, refunder, time.Hour)
			r.GetGrant().GetRules()[0].GetWhere()[0].GetValues()[0].Value = fmt.Sprintf("ch_%d", i)
			told = append(told, r)
		}
		m.swap(told...)
		m.pong(m.machine.plane())
		who, last := principal(t, refunder), refund(fmt.Sprintf("ch_%d", n-1), 1)
		hit = testing.AllocsPerRun(10, func() {
			if g, err := m.Find(who, last, m.Now(), grant.GrantID{}); err != nil || g.ID != right {
				t.Fatalf("found %s, want %s (%v)", g.ID, right, err)
			}
		})
		none := refund("ch_none", 1)
		miss = testing.AllocsPerRun(10, func() {
			if _, err := m.Find(who, none, m.Now(), grant.GrantID{}); grant.ReasonOf(err) != grant.ConstraintUnmet {
				t.Fatal(err)
			}
		})
		return hit, miss
	}
	hit, miss := cost(10)
	hits, misses := cost(1000)
	if hits > hit+20 || misses > miss+20 {
		t.Errorf("of 10 grants a hit takes %.0f allocations and a miss %.0f, of 1,000 %.0f and %.0f", hit, miss, hits, misses)
	}
}
