package access_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

func TestAWatchHearsOfCommits(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	watch := w.Watch()
	defer watch.Stop()
	heard := func(name string, want ...string) {
		t.Helper()
		select {
		case <-watch.Rung():
			if len(want) == 0 {
				t.Errorf("%s: rang", name)
			}
		default:
			if len(want) > 0 {
				t.Fatalf("%s: did not ring", name)
			}
		}
		got, many := watch.Take()
		if slices.Sort(want); !slices.Equal(got, want) || many {
			t.Errorf("%s: %v %v, want %v", name, got, many, want)
		}
	}
	heard("nothing yet")
	r := w.ask(w.as(alice), refund(), access.Pending)
	heard("a request", r.ID.String())
	if _, err := w.Approve(ctx, w.as(bob), r.ID, "another", ""); err == nil {
		t.Fatal("approved another offer")
	}
	heard("a refused verb")
	r, err := w.Approve(ctx, w.as(bob), r.ID, r.OfferDigest, "")
	if err != nil {
		t.Fatal(err)
	}
	heard("an approval", r.ID.String(), r.Grant.String())
	i, s := w.join("1"), newSpool(t)
	watch.Take()
	_, intent := s.intent(r)
	if _, err := w.Source().Ingest(ctx, i, s.segment(intent)); err != nil {
		t.Fatal(err)
	}
	heard("an action", r.Grant.String())
	w.beat(i)
	heard("a beat")
	if _, err := w.Finish(ctx, w.as(alice), r.Grant); err != nil {
		t.Fatal(err)
	}
	heard("an end", r.Grant.String())
	watch.Stop()
	w.ask(w.as(alice), refund(), access.Pending)
	heard("after its stop")
}

func TestAWatchRemembersSoMuch(t *testing.T) {
	w := newWorld(t)
	watch := w.Watch()
	defer watch.Stop()
	for range 300 {
		w.ask(w.as(bob), reports(), access.Approved) // two ids each
	}
	if ids, many := watch.Take(); len(ids) != 256 || !many {
		t.Errorf("%d ids, %v", len(ids), many)
	}
	w.ask(w.as(bob), reports(), access.Approved)
	if ids, many := watch.Take(); len(ids) != 2 || many {
		t.Errorf("%d ids, %v", len(ids), many)
	}
}

func TestConcerns(t *testing.T) {
	w := newWorld(t)
	pending, done := w.ask(w.as(alice), refund(), access.Pending), w.granted() // by the refunder, approved by bob
	for _, c := range []struct {
		who                    string
		pending, granted, used bool // the request, the other request, its grant
	}{
		{alice, true, false, false},
		{bob, true, true, true}, // who approved sees on the request's page what came of the grant
		{refunder, false, true, true},
		{dave, true, true, true},
		{erin, false, false, false},
	} {
		for id, want := range map[string]bool{
			pending.ID.String(): c.pending, done.ID.String(): c.granted, done.Grant.String(): c.used,
			"req_": false, "ses_01JZZZZZZZZZZZZZZZZZZZZZZZ": false, "": false, "grt_01JZZZZZZZZZZZZZZZZZZZZZZZ": false,
		} {
			got, err := w.Concerns(t.Context(), w.as(c.who), []string{"other", id})
			if err != nil || got != want {
				t.Errorf("%s, %s: %v, %v; want %v", c.who, fmt.Sprintf("%.30s", id), got, err, want)
			}
		}
	}
}

func TestWhoMayDecideIsTold(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(alice), refund(), access.Pending)
	may := func(who string) bool {
		t.Helper()
		v, err := w.ShowRequest(t.Context(), w.as(who), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		return v.MayDecide
	}
	// The asker's other account is of the approving group, and still the asker (P6).
	for who, want := range map[string]bool{alice: false, aliceAdmin: false, bob: true, carol: true, dave: false} {
		if got := may(who); got != want {
			t.Errorf("%s may decide: %v", who, got)
		}
	}
	if _, err := w.Approve(t.Context(), w.as(bob), r.ID, r.OfferDigest, ""); err != nil {
		t.Fatal(err)
	}
	if may(bob) || may(carol) {
		t.Error("what is decided can be decided")
	}
}
