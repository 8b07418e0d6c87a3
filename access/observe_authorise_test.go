package access_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// observedReads counts who asks for what was observed: readers, and whoever holds the one
// writer, for which gateways wait.
type observedReads struct {
	access.Store
	views, updates int
	before         func() // the next update
}

func (o *observedReads) View(ctx context.Context, f func(access.Tx) error) error {
	return o.Store.View(ctx, func(tx access.Tx) error { return f(observedTx{tx, &o.views}) })
}

func (o *observedReads) Update(ctx context.Context, f func(access.Tx) error) error {
	if first := o.before; first != nil {
		o.before = nil
		first()
	}
	return o.Store.Update(ctx, func(tx access.Tx) error { return f(observedTx{tx, &o.updates}) })
}

type observedTx struct {
	access.Tx
	n *int
}

func (t observedTx) Observed() access.ObservedStore { *t.n++; return t.Tx.Observed() }

// observedWorld has one row of what was observed.
func observedWorld(t *testing.T) (*world, *observedReads) {
	t.Helper()
	reads := &observedReads{}
	w := newWorldOver(t, func(s access.Store) access.Store { reads.Store = s; return reads })
	w.join("1")
	w.observe()
	s := newSpool(t)
	w.ship(s, tried(s, shop, "refunds.create", "no_grant", grant.GrantID{}, nil))
	reads.views, reads.updates = 0, 0
	return w, reads
}

// Whoever may not read the report does not make mayflyd read a row for it.
func TestObserveReportIsRefusedBeforeAnythingIsRead(t *testing.T) {
	w, reads := observedWorld(t)
	w.granted() // of another app
	for _, c := range []access.Caller{w.as(erin), w.as(refunder), w.in(dave, "support")} {
		_, err := w.ObserveReport(t.Context(), c, access.ObserveQuery{Owner: "x"})
		wantCode(t, err, access.CodeNoGrant)
	}
	held := w.mayInvestigate(nil)
	if _, err := w.Revoke(t.Context(), w.as(dave), held.Grant, "x"); err != nil {
		t.Fatal(err)
	}
	_, err := w.ObserveReport(t.Context(), w.in(dave, "support"), access.ObserveQuery{})
	wantCode(t, err, access.CodeNoGrant)
	if reads.views+reads.updates != 0 {
		t.Errorf("read %d times", reads.views+reads.updates)
	}
}

// Pongs wait for the writer: a report is a reader's work, however long it takes.
func TestObserveReportIsReadBesideTheWriter(t *testing.T) {
	w, reads := observedWorld(t)
	held := w.mayInvestigate(nil)
	for _, c := range []access.Caller{w.as(dave), w.in(dave, "support")} {
		reads.before = nil
		if c.Groups == nil || slices.Equal(c.Groups, w.as(dave).Groups) {
			reads.before = func() { t.Error("who leaves nothing on record takes the writer") }
		}
		report, err := w.ObserveReport(t.Context(), c, access.ObserveQuery{Owner: "team-payments"})
		if err != nil || len(report.Rows) != 1 || len(report.Proposals) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	if reads.views != 2 || reads.updates != 0 {
		t.Errorf("%d times by readers, %d times by the writer", reads.views, reads.updates)
	}
	// What ends between the reading and the record of it is not shown.
	before := len(w.leaves())
	reads.before = func() {
		if _, err := w.Revoke(t.Context(), w.as(dave), held.Grant, "x"); err != nil {
			t.Error(err)
		}
	}
	report, err := w.ObserveReport(t.Context(), w.in(dave, "support"), access.ObserveQuery{})
	wantCode(t, err, access.CodeNoGrant)
	if len(report.Rows) != 0 {
		t.Errorf("%+v", report)
	}
	for _, l := range w.leaves()[before:] {
		if l.Type == audit.TypeAdministration {
			t.Errorf("on record: %+v", l)
		}
	}
}

// Each caller who is read about under a grant is on record, by more than one transaction.
func TestObserveReportOfManyIsOnRecord(t *testing.T) {
	const many = 150
	w, _ := observedWorld(t)
	s := newSpool(t)
	var bodies []any
	for n := range many {
		bodies = append(bodies, tried(s, shop+"-"+string(rune('a'+n/26))+string(rune('a'+n%26)), "refunds.create", "no_grant", grant.GrantID{}, nil))
	}
	w.ship(s, bodies...)
	w.mayInvestigate(nil)
	before := len(w.leaves())
	report, err := w.ObserveReport(t.Context(), w.in(dave, "support"), access.ObserveQuery{Since: 24 * time.Hour})
	if err != nil || len(report.Rows) != many+1 {
		t.Fatalf("%d rows, %v", len(report.Rows), err)
	}
	if n := len(w.leaves()) - before; n != many+1 {
		t.Errorf("%d leaves", n)
	}
}
