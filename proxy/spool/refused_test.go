package spool

import (
	"errors"
	"fmt"
	"testing"
)

// TestP5_NothingIsWrittenThatWouldNeverBeOnTheRecord: a mayflyd that refuses the
// frames for good is not tried again while actions go on.
func TestP5_NothingIsWrittenThatWouldNeverBeOnTheRecord(t *testing.T) {
	p := newPlane()
	s := open(t, config(t.TempDir(), p))
	defer run(t, s)()
	mustIntent(t, s, true)
	p.set(func(p *plane) { p.down = errors.New("away") })
	if err := s.Ship(t.Context()); err == nil {
		t.Fatal("shipped to a mayflyd that is away")
	}
	mustIntent(t, s, true) // away is no reason to stop: the spool is there for that
	p.set(func(p *plane) { p.down = fmt.Errorf("another history: %w", ErrRefused) })
	if err := s.Ship(t.Context()); !errors.Is(err, ErrRefused) {
		t.Fatalf("shipping: %v", err)
	}
	if _, err := s.Intent(t.Context(), intent(newAction()), true); !errors.Is(err, ErrBroken) {
		t.Fatalf("an intent after the refusal: %v, want ErrBroken", err)
	}
}
