package spool

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestP5_AFailedSyncStopsEverything(t *testing.T) {
	p := newPlane()
	var d trouble
	c := config(t.TempDir(), p)
	c.openFile = d.open
	s := open(t, c)
	run(t, s)
	id := mustIntent(t, s, true)
	d.set(func(d *trouble) { d.sync = syscall.EIO })
	if _, err := s.Intent(t.Context(), intent(newAction()), true); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("durable: %v", err)
	}
	d.set(func(d *trouble) { d.sync = nil })
	for _, durable := range []bool{true, false} {
		if _, err := s.Intent(t.Context(), intent(newAction()), durable); !errors.Is(err, ErrBroken) {
			t.Fatalf("after it: %v", err)
		}
	}
	if err := s.Outcome(sent(id)); !errors.Is(err, ErrBroken) {
		t.Fatalf("outcome: %v", err)
	}
	if s.Denied(audit.Denied{Code: "scope"}) {
		t.Fatal("a denial is said to be on record")
	}
	if err := s.Ship(t.Context()); !errors.Is(err, ErrBroken) {
		t.Fatalf("ship: %v", err)
	}
}

func TestP5_AFailedWriteLeavesWholeFrames(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	var d trouble
	c := config(dir, p)
	c.openFile = d.open
	s := open(t, c)
	stop := run(t, s)
	id := mustIntent(t, s, false)
	d.set(func(d *trouble) { d.write, d.half = syscall.ENOSPC, true })
	if _, err := s.Intent(t.Context(), intent(newAction()), true); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	scan(t, disked(t, dir))
	if err := s.Outcome(sent(id)); err != nil { // waits for room
		t.Fatal(err)
	}
	s.Count(grant.NoIdentity)
	d.set(func(d *trouble) { d.write = nil })
	mustIntent(t, s, true)
	stop()
	got := strings.Join(summary(t, scan(t, p.frames)), ", ")
	if strings.Count(got, "outcome sent") != 1 || strings.Count(got, "intent") != 2 || !strings.Contains(got, "denied_count") {
		t.Fatalf("on record: %s", got)
	}

	s = open(t, c)
	run(t, s)
	d.set(func(d *trouble) { d.write, d.truncate = syscall.ENOSPC, syscall.EIO })
	if _, err := s.Intent(t.Context(), intent(newAction()), true); !errors.Is(err, ErrBroken) {
		t.Fatalf("half a frame that cannot be cut off: %v", err)
	}
}

func TestADiskThatHangsHoldsNobodyElseUp(t *testing.T) {
	p := newPlane()
	var d trouble
	c := config(t.TempDir(), p)
	c.openFile = d.open
	s := open(t, c)
	run(t, s)
	first := mustIntent(t, s, true)
	hold := make(chan struct{})
	d.set(func(d *trouble) { d.hold = hold })
	ctx, cancel := context.WithCancel(t.Context())
	waits, late := make(chan error, 1), newAction()
	go func() {
		_, err := s.Intent(ctx, intent(late), true)
		waits <- err
	}()
	eventually(t, "a sync hangs", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.syncs > 2 })
	s.Head()
	s.Pending()
	mustIntent(t, s, false) // a read waits for no sync
	if err := s.Outcome(sent(first)); err != nil {
		t.Fatal(err)
	}
	if !s.Denied(audit.Denied{Denial: "den_01ARZ3NDEKTSV4RRFFQ69G5FAV", Code: "scope", Try: audit.Try{Principal: "p_1", Action: newAction()}}) {
		t.Fatal("a denial waits for the disk")
	}
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	close(hold)
	// Its caller left: the record says that nothing was sent under it.
	eventually(t, "the intent is closed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, open := s.open[late]
		return !open
	})
}
