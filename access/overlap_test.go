package access_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// Who asks again while access lasts is decided about anew, and gets a grant of its own:
// the end of the one neither ends nor lengthens the other, whichever ends first and how.
func TestGrantsThatOverlapEndEachOnItsOwn(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, first, second grant.GrantID) (over, left grant.GrantID)
	}{
		{"the first by time", func(w *world, first, second grant.GrantID) (over, left grant.GrantID) {
			w.pass(20 * time.Minute)
			return first, second
		}},
		{"the first by its holder", func(w *world, first, second grant.GrantID) (over, left grant.GrantID) {
			if _, err := w.Finish(w.t.Context(), w.as(refunder), first); err != nil {
				w.t.Fatal(err)
			}
			return first, second
		}},
		{"the first by a revoke", func(w *world, first, second grant.GrantID) (over, left grant.GrantID) {
			if _, err := w.Revoke(w.t.Context(), w.as(dave), first, "x"); err != nil {
				w.t.Fatal(err)
			}
			return first, second
		}},
		{"the second by a revoke", func(w *world, first, second grant.GrantID) (over, left grant.GrantID) {
			if _, err := w.Revoke(w.t.Context(), w.as(dave), second, "x"); err != nil {
				w.t.Fatal(err)
			}
			return second, first
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			w.apply(refundsFile, ", idle_after: 15m", "")
			a := w.ask(w.as(refunder), refund(), access.Pending)
			b := w.ask(w.as(refunder), refund(), access.Pending)
			if waiting, err := w.Waiting(ctx, w.as(bob)); err != nil || len(waiting) != 2 {
				t.Fatalf("%d requests wait, %v", len(waiting), err)
			}
			if a, err := w.Approve(ctx, w.as(bob), a.ID, a.OfferDigest, ""); err != nil || a.State != access.Approved {
				t.Fatalf("%s, %v", a.State, err)
			}
			w.pass(10 * time.Minute)
			b, err := w.Approve(ctx, w.as(bob), b.ID, b.OfferDigest, "")
			if err != nil || b.State != access.Approved {
				t.Fatalf("asked again while access lasts: %s, %v", b.State, err)
			}
			show := func(id grant.GrantID) access.GrantView {
				t.Helper()
				g, err := w.ShowGrant(ctx, w.as(refunder), id)
				if err != nil {
					t.Fatal(err)
				}
				return g
			}
			v, err := w.ShowRequest(ctx, w.as(refunder), a.ID)
			if err != nil || v.Grant == b.Grant {
				t.Fatalf("two requests, one grant: %v", err)
			}
			head := w.head()
			over, left := c.end(w, v.Grant, b.Grant)
			ends := show(left).NotAfter
			if err := w.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if g := show(over); g.State == grant.Active {
				t.Errorf("the one that ended is %s", g.State)
			}
			if g := show(left); g.State != grant.Active || !g.NotAfter.Equal(ends) || !ends.Equal(g.NotBefore.Add(30*time.Minute)) {
				t.Errorf("the other one is %s until %s, of %s", g.State, g.NotAfter, ends)
			}
			changes, ok, err := w.Source().Changes(ctx, head, feed.Newest())
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			for _, change := range changes {
				for _, r := range change.Removals {
					if r.GetId() != over.String() {
						t.Errorf("gateways are told to drop %s", r.GetId())
					}
				}
			}
			w.pass(ends.Sub(w.clock()))
			if g := show(left); g.State != grant.EndedState {
				t.Errorf("at its own end the other one is %s", g.State)
			}
		})
	}
}
