package access_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// What passed undecided is explained as that, with what it would have been, to whom its
// trace is shown.
func TestP8_WhatPassedUndecidedIsExplained(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	r := w.granted()
	until := w.observe()
	s := newSpool(t)
	attributes := values("charge", "ch_1", "amount", "6000")
	denied := tried(s, refunder, "refunds.create", string(grant.ConstraintUnmet), grant.GrantID{}, attributes)
	denied.Until = audit.At(until)
	allowed := tried(s, refunder, "refunds.create", "", r.Grant, values("charge", "ch_1", "amount", "10"))
	w.ship(s, denied, allowed)

	x, err := w.Explain(t.Context(), w.as(refunder), denied.Action)
	if err != nil {
		t.Fatal(err)
	}
	if try := x.Try; !try.Observed || try.Code != grant.ConstraintUnmet || !try.Until.Equal(until) || try.Denial != "" || try.Grant != "" || len(try.Near) != 1 || try.Near[0].Attribute != "amount" || len(try.Asks) == 0 {
		t.Errorf("would have been denied: %+v", try)
	}
	if x, err = w.Explain(t.Context(), w.as(refunder), allowed.Action); err != nil {
		t.Fatal(err)
	}
	if try := x.Try; !try.Observed || try.Code != "" || try.Grant != r.Grant.String() || x.Grant == nil || x.Request == nil {
		t.Errorf("would have been allowed: %+v", try)
	}
	w.pass(time.Second)
	_, err = w.Explain(t.Context(), w.as(alice), denied.Action)
	wantCode(t, err, access.CodeNotFound)
}
