package tokens

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// bench is a token of ordinary size and what verifies it, ours and golang-jwt alone.
type bench struct {
	*house
	token string
	alone *jwt.Parser
}

func newBench(t testing.TB) *bench {
	t.Helper()
	h := newHouse(t, ES256)
	now := testNow()
	return &bench{h, h.sign(t, good(t)), jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(testIssuer),
		jwt.WithAudience(testAudience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return now }))}
}

func (b *bench) hit(t testing.TB) {
	if _, err := b.verifier.Verify(b.token, testNow(), expected()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) miss(t testing.TB) {
	b.verifier.cache.Purge()
	b.hit(t)
}

func (b *bench) jwt(t testing.TB) {
	if _, err := b.alone.Parse(b.token, func(*jwt.Token) (any, error) { return b.key.Public().Key, nil }); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkVerify prints what a remembered token costs, a new one, golang-jwt alone,
// and the ratio of the last two in one interleaved run.
func BenchmarkVerify(b *testing.B) {
	w := newBench(b)
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.hit(b)
		}
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.miss(b)
		}
	})
	b.Run("golang-jwt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.jwt(b)
		}
	})
	b.Run("miss-to-golang-jwt", func(b *testing.B) {
		var ratio float64
		for b.Loop() {
			ratio = w.ratio(b)
		}
		b.ReportMetric(ratio, "ratio")
	})
}

// ratio is the median over rounds that take turns.
func (b *bench) ratio(t testing.TB) float64 {
	const rounds, each = 15, 100
	var all []float64
	for range rounds {
		ours := clocked(each, func() { b.miss(t) })
		theirs := clocked(each, func() { b.jwt(t) })
		all = append(all, float64(ours)/float64(theirs))
	}
	return median(all)
}

func clocked(n int, f func()) time.Duration {
	began := time.Now()
	for range n {
		f()
	}
	return time.Since(began)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// TestARememberedTokenCostsNoMemory: nothing is allocated but what hashing takes.
func TestARememberedTokenCostsNoMemory(t *testing.T) {
	b := newBench(t)
	b.hit(t)
	if n := testing.AllocsPerRun(200, func() { b.hit(t) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestVerifyCosts holds the figures: of a remembered token at most 2 µs, of a new one
// at most 1.5 times golang-jwt alone.
func TestVerifyCosts(t *testing.T) {
	if os.Getenv("MAYFLY_LONG") == "" {
		t.Skip("figures are asserted by make test-long")
	}
	b := newBench(t)
	b.hit(t)
	var hits []float64
	for range 15 {
		hits = append(hits, float64(clocked(2000, func() { b.hit(t) }))/2000)
	}
	hit, ratio := time.Duration(median(hits)), b.ratio(t)
	t.Logf("hit %s, miss %.2f x golang-jwt", hit, ratio)
	if hit > 2*time.Microsecond && !raceEnabled {
		t.Errorf("a remembered token costs %s", hit)
	}
	if ratio > 1.5 && !raceEnabled {
		t.Errorf("a new token costs %.2f times golang-jwt alone", ratio)
	}
}
