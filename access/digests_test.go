package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
)

// holds returns what an instance with these apps says that it holds, if it holds what
// a snapshot tells now.
func (w *world) holds(i feed.Instance, apps ...string) feed.Beat {
	w.t.Helper()
	s, err := snapshotOf(w.t.Context(), w.Source(), apps)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &feed.Ping{Nonce: "n", Epoch: s.At.Epoch, Revision: s.At.Revision, Digests: map[string][]byte{}}
	sums := map[string]feed.Digest{}
	for _, r := range s.Resources {
		if d, ok := feed.DigestOf(r); ok {
			sums[feed.CountsFor(r)] = sums[feed.CountsFor(r)].Plus(d)
		}
	}
	for _, app := range append(apps, feed.Everyone) {
		p.Digests[app] = sums[app].Bytes()
	}
	return feed.Beat{Instance: i, Ping: p}
}

func (w *world) pulse(b feed.Beat) feed.Pulse {
	w.t.Helper()
	w.pass(time.Second)
	out, err := w.Source().Beat(w.t.Context(), []feed.Beat{b})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) fill() {
	w.t.Helper()
	if err := w.FillDigests(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func TestP4_AnInstanceThatHoldsWhatItWasNotToldGetsNoPong(t *testing.T) {
	w := newWorld(t)
	w.granted()
	i := w.join("1")
	w.fill()
	good := w.holds(i, "reports", "stripe")
	if out := w.pulse(good); out.Silent[i] || len(out.Resync) != 0 {
		t.Fatalf("equal, and %+v", out)
	}
	before := len(w.leaves())
	bad := w.holds(i, "reports", "stripe")
	bad.Ping.Digests["stripe"] = feed.Digest{}.Bytes()
	out := w.pulse(bad)
	if !out.Silent[i] || !strings.Contains(out.Resync[i], "stripe") || w.types(before) != "instance.quarantined" || w.Strayed() != 1 {
		t.Fatalf("%+v, %s", out, w.types(before))
	}
	pong := w.running(i).LastPong
	if out = w.pulse(bad); !out.Silent[i] || out.Resync[i] != "" || w.types(before) != "instance.quarantined" {
		t.Fatalf("a second later: %+v, %s", out, w.types(before))
	}
	silent := w.holds(i, "reports", "stripe") // of a process that stopped telling
	silent.Ping.Digests = nil
	if out = w.pulse(silent); !out.Silent[i] {
		t.Fatal("it gets a Pong because it says nothing any more")
	}
	if at := w.running(i); !at.LastPong.Equal(pong) || at.StrayedAt.IsZero() || strings.Join(at.Strayed, " ") != "stripe" {
		t.Fatalf("%+v", at)
	}
	if out = w.pulse(w.holds(i, "reports", "stripe")); out.Silent[i] || w.types(before) != "instance.quarantined instance.released" {
		t.Fatalf("equal again: %+v, %s", out, w.types(before))
	}
	if at := w.running(i); !at.StrayedAt.IsZero() {
		t.Fatalf("%+v", at)
	}
}

// running is what mayfly nodes knows of an instance.
func (w *world) running(i feed.Instance) access.Instance {
	w.t.Helper()
	view, err := w.Nodes(w.t.Context(), w.as(dave))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, one := range view.Instances {
		if one.ID == i {
			return one.Instance
		}
	}
	w.t.Fatalf("%s is not listed", i)
	return access.Instance{}
}

// Whatever verbs do, the digests of an instance that took in what it was told are
// equal: at its own revision, and after mayflyd has started again.
func TestDigestsFollowEveryVerb(t *testing.T) {
	w := peopleWorld(t)
	i := w.join("1")
	w.fill()
	apps := []string{"reports", "stripe", "wiki"}
	equal := func(what string, b feed.Beat) {
		t.Helper()
		if out := w.pulse(b); out.Silent[i] || len(out.Resync) != 0 {
			t.Errorf("%s: %+v", what, out)
		}
	}
	equal("the beginning", w.holds(i, apps...))
	r := w.granted()
	lagging := w.holds(i, apps...)
	equal("a grant", lagging)
	parent := w.console(alice, "")
	w.enter(parent, wikiHost, 1)
	equal("a session", w.holds(i, apps...))
	equal("one that lags", lagging)
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	equal("a revoke", w.holds(i, apps...))
	w.granted()
	w.pass(30 * time.Minute)
	equal("a grant that is over, and nobody swept", w.holds(i, apps...))
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal("swept", w.holds(i, apps...))
	w.pass(8 * time.Hour)
	equal("a session that is over", w.holds(i, apps...))
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal("swept too", w.holds(i, apps...))
	w.apply("apps/stripe.yaml", "stale_after: 15s", "stale_after: 14s")
	equal("an app that changed", w.holds(i, apps...))
}

func TestAnInstanceThatCannotBeComparedTakesASnapshot(t *testing.T) {
	w := newWorld(t)
	i := w.join("1")
	w.fill()
	of := w.holds(i, "stripe") // it fronts reports too
	if out := w.pulse(of); len(out.Resync) != 0 || out.Silent[i] {
		t.Fatalf("at once: %+v", out)
	}
	if out := w.pulse(of); out.Resync[i] == "" || out.Silent[i] {
		t.Fatalf("twice in a row: %+v", out)
	}
}
