package spool

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

func TestShippingSurvivesLostRepliesAndRestarts(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	s := open(t, config(dir, p))
	stop := run(t, s)
	mustIntent(t, s, true)
	if err := s.Ship(t.Context()); !errors.Is(err, p.down) {
		t.Fatalf("%v", err)
	}
	p.set(func(p *plane) { p.down, p.lose = nil, true })
	if err := s.Ship(t.Context()); err == nil {
		t.Fatal("a lost reply is no reply")
	}
	at := p.next
	mustIntent(t, s, true) // the next segment begins with what mayflyd has already
	if err := s.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.next <= at || s.Pending() != 0 {
		t.Fatalf("mayflyd has up to %d, %d are pending", p.next-1, s.Pending())
	}
	stop()

	// A restart tells everything again that is still on disk; nothing comes twice.
	again := open(t, config(dir, p))
	if again.Pending() == 0 {
		t.Fatal("nothing to ship after a restart")
	}
	run(t, again)()
	want := []string{"spool.started", "intent", "intent", "spool.started", "outcome unknown restart", "outcome unknown restart"}
	wantRecords(t, scan(t, p.frames), want...)
}

func TestShippingAMayflydThatIsNotWhereItShouldBe(t *testing.T) {
	for _, c := range []struct {
		name   string
		next   func(s *Spool) uint64
		want   string
		healed bool
	}{
		{"it has more than this disk", func(s *Spool) uint64 { return s.next + 5 }, "frames were lost on this disk", false},
		{"it wants what was removed", func(*Spool) uint64 { return 0 }, "mayflyd was set back", false},
		{"it wants the beginning again", func(*Spool) uint64 { return 1 }, "took nothing", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, dir := newPlane(), t.TempDir()
			conf := config(dir, p)
			lie := false
			var s *Spool
			conf.Ship = func(ctx context.Context, seg audit.Segment) (uint64, error) {
				if lie {
					return c.next(s), nil
				}
				return p.ship(ctx, seg)
			}
			s = open(t, conf)
			for range 3 {
				if err := s.Ship(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := s.append(&entry{kind: audit.TypeActionDeniedCount, denial: true, body: audit.DeniedCount{From: audit.At(noon()), To: audit.At(noon())}}); err != nil {
					t.Fatal(err)
				}
			}
			lie = true
			if err := s.Ship(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			lie = false
			p.set(func(p *plane) { p.next, p.head, p.frames = 1, audit.Hash{}, nil }) // restored from before
			err := s.Ship(t.Context())
			if healed := err == nil && s.Pending() == 0; healed != c.healed {
				t.Fatalf("healed %v, %v", healed, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A shipped spool of many files can be opened again after a crash at any point
// of its removal.
func TestACrashWhileFilesAreRemoved(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	c := config(dir, p)
	c.Limit = 512 << 10
	s := open(t, c)
	stop := run(t, s)
	for range 150 {
		if err := s.Outcome(sent(mustIntent(t, s, false))); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	files, err := listFiles(dir)
	if err != nil || len(files) < 4 {
		t.Fatal(len(files), err)
	}
	p.set(func(p *plane) { p.down = nil })
	s = open(t, c)
	if err := s.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := listFiles(dir)
	if err != nil || len(left) != 1 {
		t.Fatalf("%d files left: %v", len(left), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, c); again.shipped != left[0].first {
		t.Fatal("the chain was not found again")
	} else {
		run(t, again)()
	}
	scan(t, p.frames)

	// Files are removed from the oldest on: a hole in between is no crash.
	dir = folder(t, dir)
	if err := os.WriteFile(fileName(dir, 1), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Dir = dir
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "frames are missing") {
		t.Fatalf("%v", err)
	}
}
