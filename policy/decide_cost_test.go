package policy

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// large is the example policy with as many entitlements on top: copies of those of it,
// under other names.
func large(t testing.TB, n int) *Set {
	s := example(t)
	from := s.Entitlements()
	for i := range n {
		e := *from[i%len(from)]
		e.Name = fmt.Sprintf("%s-%d", e.Name, i)
		s.entitlements[e.Name] = &e
	}
	return s
}

// BenchmarkDecide has three decisions: by people, by rule, and a refusal.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkDecide(b, n) })
	}
}

func benchmarkDecide(b *testing.B, n int) {
	s := large(b, n)
	people := ask(b)
	rule := people
	rule.Entitlement, rule.Params = "reports/read", map[string]string{"folder": "/daily"}
	rule.Requester.Groups = groups(b, "idp/engineers")
	refused := people
	refused.Duration = 100 * time.Hour
	for _, c := range []struct {
		in   Input
		want Outcome
	}{{people, NeedsApproval}, {rule, Granted}, {refused, Denied}} {
		if d := s.Decide(c.in); d.Outcome != c.want {
			b.Fatalf("%s: %s", c.in.Entitlement, d.Sentence)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		s.Decide([]Input{people, rule, refused}[i%3])
	}
}

// TestDecideCosts holds a decision to its figures: what other entitlements there are
// does not matter. With MAYFLY_LONG=1 only: it measures time.
func TestDecideCosts(t *testing.T) {
	if os.Getenv("MAYFLY_LONG") != "1" {
		t.Skip("it measures time: MAYFLY_LONG=1")
	}
	best := func(n int) time.Duration {
		least := time.Hour
		for range 3 { // the least disturbed of three
			r := testing.Benchmark(func(b *testing.B) { benchmarkDecide(b, n) })
			least = min(least, time.Duration(r.NsPerOp()))
		}
		return least
	}
	few, many := best(1_000), best(10_000)
	t.Logf("a decision among 1,000 entitlements takes %s, among 10,000 %s", few, many)
	if many > 2*few || few > 2*many {
		t.Errorf("among 10,000 entitlements it takes %s, among 1,000 %s: want within 2 times", many, few)
	}
	if max(few, many) >= 100*time.Microsecond {
		t.Errorf("it takes %s and %s, want under 100µs", few, many)
	}
}
