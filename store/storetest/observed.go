package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

func testObserved(t *testing.T, store access.Store) {
	day := func(n int) time.Time {
		return epoch().UTC().Truncate(24 * time.Hour).Add(time.Duration(n) * 24 * time.Hour)
	}
	add := func(forget time.Time, uses ...access.ObservedUse) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Observed().Add(ctx, uses, forget) })
	}
	since := func(app string, from time.Time) []access.ObservedUse {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.ObservedUse, error) {
			return tx.Observed().Since(ctx, app, from)
		})
	}
	use := func(app, code string, d int, charge string) access.ObservedUse {
		return access.ObservedUse{App: app, Name: "p_1", Operation: "refunds.create", Code: code, Day: day(d), Last: day(d).Add(time.Hour), Count: 2, Attributes: map[string]string{"charge": charge, "currency": "usd"}}
	}
	first := use("stripe", "no_grant", 1, "ch_1")
	add(day(0), first, use("wiki", "", 1, "ch_1"))
	same(t, "of one app", since("stripe", day(1)), []access.ObservedUse{first})
	if got := since("", day(1)); len(got) != 2 {
		t.Errorf("of all: %+v", got)
	}
	if got := since("", day(2)); len(got) != 0 {
		t.Errorf("of later: %+v", got)
	}
	later := use("stripe", "no_grant", 1, "ch_2")
	later.Last = later.Last.Add(time.Hour)
	add(day(0), later)
	joined := first
	joined.Count, joined.Last, joined.Attributes = 4, later.Last, map[string]string{"charge": "", "currency": "usd"}
	same(t, "the same again, about another charge", since("stripe", day(1)), []access.ObservedUse{joined})
	add(day(0), first)
	if got := since("stripe", day(1)); got[0].Attributes["charge"] != "" || got[0].Count != 6 || !got[0].Last.Equal(later.Last) {
		t.Errorf("what differed once stays so, and the newest time: %+v", got)
	}
	next := use("stripe", "no_grant", 3, "ch_3")
	add(day(2), next)
	same(t, "what is too old is forgotten", since("", day(0)), []access.ObservedUse{next})
}
