package spool

import (
	"context"
	"errors"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

func observed(id string) audit.Observed {
	i := intent(id)
	return audit.Observed{Code: "no_grant", Try: i.Try}
}

// Whoever has a certificate can make an observed app write the spool full. Half of it is
// kept from them, for what is decided.
func TestP5_ObservedRequestsLeaveRoomForIntents(t *testing.T) {
	p := newPlane()
	p.down = errors.New("away")
	c := config(t.TempDir(), p)
	c.Limit = 256 << 10
	s := open(t, c)
	run(t, s)
	n := 0
	for {
		err := s.Observed(context.Background(), observed(newAction()), false)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := len(fill(t, s)); n < 50 || got < n/2 {
		t.Fatalf("%d observed requests, and room for %d intents", n, got)
	}
}

// What a process left open is closed as unknown by the next one, as an intent is, and
// still counts against its share.
func TestARestartClosesWhatWasObserved(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	c := config(dir, p)
	s := open(t, c)
	stop := run(t, s)
	id := newAction()
	if err := s.Observed(context.Background(), observed(id), true); err != nil {
		t.Fatal(err)
	}
	stop()
	s = open(t, c)
	s.mu.Lock()
	watched := s.watched()
	s.mu.Unlock()
	run(t, s)()
	records := scan(t, disked(t, dir))
	var types []audit.Type
	for _, r := range records {
		types = append(types, r.Type)
	}
	last := records[len(records)-1]
	var o audit.Outcome
	if err := last.Into(&o); err != nil || o.Action != id || o.Result != audit.ResultUnknown || o.Reason != audit.ReasonRestart {
		t.Errorf("%v: %+v, %v", types, o, err)
	}
	if watched == 0 {
		t.Error("what a process before observed takes no room of its share")
	}
}
