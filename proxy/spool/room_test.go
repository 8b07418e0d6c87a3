package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// fill writes intents until there is no room, and returns their actions.
func fill(t *testing.T, s *Spool) (actions []string) {
	t.Helper()
	for {
		id := newAction()
		_, err := s.Intent(t.Context(), intent(id), false)
		if errors.Is(err, ErrFull) {
			return actions
		}
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, id)
	}
}

func TestP5_AFullSpoolTakesNoIntentAndEveryOutcome(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	c := config(dir, p)
	c.Limit = 256 << 10
	s := open(t, c)
	stop := run(t, s)
	actions := fill(t, s)
	for _, id := range actions {
		if err := s.Outcome(sent(id)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	frames := disked(t, dir)
	records := scan(t, frames)
	if want := 1 + 2*len(actions); len(records) != want {
		t.Fatalf("%d records, want %d: an outcome found no room", len(records), want)
	}
	if int64(len(frames)) > c.Limit {
		t.Fatalf("%d bytes with a limit of %d", len(frames), c.Limit)
	}

	// Full and restarted, it still opens, and ships itself empty.
	s = open(t, c)
	run(t, s)
	fill(t, s)
	p.set(func(p *plane) { p.down = nil })
	if err := s.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustIntent(t, s, true)
}

// Whatever is written, shipped and closed, the room comes back: a spool does not
// fill up for good.
func TestARoundTripOfManyTimesTheLimit(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	c := config(dir, p)
	c.Limit = 128 << 10
	s := open(t, c)
	stop := run(t, s)
	for written := 0; written < 6; {
		id := newAction()
		if _, err := s.Intent(t.Context(), intent(id), false); errors.Is(err, ErrFull) {
			written++
			if err := s.Ship(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if err := s.Outcome(sent(id)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the outcome is written", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.open) == 0 })
	}
	stop()
	if len(p.frames) < 4*int(c.Limit) {
		t.Fatalf("only %d bytes went through", len(p.frames))
	}
	scan(t, p.frames)
	if s = open(t, c); s.next <= p.next-1 {
		t.Fatalf("it goes on at %d, mayflyd has %d", s.next, p.next)
	}
	run(t, s)()
	scan(t, p.frames)
}

func TestFilesStayUntilShippedAndClosed(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	c := config(dir, p)
	c.Limit = 512 << 10
	s := open(t, c)
	run(t, s)
	held := mustIntent(t, s, false)
	for range 200 {
		if err := s.Outcome(sent(mustIntent(t, s, false))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fileName(dir, 1)); err != nil {
		t.Fatalf("the file of an open intent is gone: %v", err)
	}
	if err := s.Outcome(sent(held)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file goes", func() bool {
		if err := s.Ship(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(fileName(dir, 1))
		return os.IsNotExist(err)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 || s.shipped <= s.files[0].first {
		t.Fatalf("nothing shipped stays on disk: a crash could not find the chain again")
	}
}

func TestDenialsAreWrittenOrCounted(t *testing.T) {
	p := newPlane()
	s := open(t, config(t.TempDir(), p))
	deny := func(peer, code string) bool {
		return s.Denied(audit.Denied{Denial: "den_01ARZ3NDEKTSV4RRFFQ69G5FAV", Code: code, Try: audit.Try{Action: newAction(), Principal: peer}})
	}
	recorded := 0
	for range 25 {
		if deny("p_1", "scope") {
			recorded++
		}
	}
	if recorded != 10 || !deny("p_1", "ended") || !deny("p_2", "scope") {
		t.Fatalf("%d of the first second verbatim, want 10 of each peer and reason", recorded)
	}
	for range 7 {
		s.Count(grant.NoIdentity)
	}
	run(t, s)()
	counts, verbatim := map[string]uint64{}, 0
	for _, r := range scan(t, p.frames) {
		switch r.Type {
		case audit.TypeActionDenied:
			verbatim++
		case audit.TypeActionDeniedCount:
			var d audit.DeniedCount
			if err := r.Into(&d); err != nil || d.To.Before(d.From.Time) {
				t.Fatal(d, err)
			}
			counts[d.Peer+" "+d.Code] += d.Count
		}
	}
	if verbatim != 12 || len(counts) != 2 || counts["p_1 scope"] != 15 || counts[" no_identity"] != 7 {
		t.Fatalf("%d verbatim, counted %v", verbatim, counts)
	}
}

func TestDenialsTakeAFifthAtMost(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	c := config(dir, p)
	c.Limit = 256 << 10
	s := open(t, c)
	run(t, s)
	flood := func() (recorded int) {
		for n := range 1000 {
			if s.Denied(audit.Denied{Denial: "den_01ARZ3NDEKTSV4RRFFQ69G5FAV", Code: "scope", Try: audit.Try{Action: newAction(), Principal: fmt.Sprint("p_", n)}}) {
				recorded++
			}
		}
		return recorded
	}
	total := flood()
	mustIntent(t, s, false) // stands behind them in the queue
	if denied := deniedBytes(s); total == 0 || denied > c.Limit/5 {
		t.Fatalf("%d recorded, %d bytes of %d", total, denied, c.Limit)
	}
	if n := len(fill(t, s)); n < 50 {
		t.Fatalf("a flood of denials left room for %d intents", n)
	}
	if s.Denied(audit.Denied{Code: "scope", Try: audit.Try{Principal: "p_x"}}) {
		t.Fatal("a denial without room is said to be on record")
	}
}

func TestCountedDenialsOutliveTheLackOfRoom(t *testing.T) {
	c := config(t.TempDir(), newPlane())
	c.Limit = 1 << 10
	s := open(t, c)
	s.Count(grant.NoIdentity)
	for range 2 {
		s.flushCounts()
		s.Count(grant.NoIdentity)
	}
	if r := s.counts.rows[row{"", string(grant.NoIdentity)}]; r == nil || r.counted != 3 {
		t.Fatalf("what could not be written was forgotten: %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func deniedBytes(s *Spool) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied()
}

// A flood of peers does not fill the memory.
func TestCountedPeersAreBounded(t *testing.T) {
	var c counter
	for n := range 3 * maxCounted {
		c.take(fmt.Sprint("p_", n), "scope", noon())
	}
	if len(c.rows) > maxCounted+1 || c.rows[row{others, "scope"}] == nil {
		t.Fatalf("%d rows", len(c.rows))
	}
}

func TestP5_NothingIsWrittenForACallerThatLeftBefore(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	s := open(t, config(dir, p))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Intent(ctx, intent(newAction()), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	stop := run(t, s)
	mustIntent(t, s, false)
	stop()
	wantRecords(t, scan(t, disked(t, dir)), "spool.started", "intent")
	for name, err := range map[string]error{
		"outcome": s.Outcome(sent(newAction())),
		"intent": func() error {
			_, err := s.Intent(context.Background(), intent(newAction()), true)
			return err
		}(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
}

// An intent is never on record at or after its grant's end: the record would
// show an honest gateway as one that broke the rule.
func TestP3_AnIntentIsNotWrittenAfterItsDeadline(t *testing.T) {
	p := newPlane()
	c, clock := config(t.TempDir(), p), newClock()
	c.Now = clock.now
	s := open(t, c)
	run(t, s)
	i := intent(newAction())
	i.Deadline = audit.At(noon().Add(time.Second))
	if _, err := s.Intent(t.Context(), i, true); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Second)
	i.Action = newAction()
	if _, err := s.Intent(t.Context(), i, true); !errors.Is(err, ErrLate) {
		t.Fatalf("%v", err)
	}
}

func TestAnOutcomeNeedsItsIntent(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	s := open(t, config(dir, p))
	stop := run(t, s)
	id := mustIntent(t, s, false)
	for range 2 {
		if err := s.Outcome(sent(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Outcome(sent(newAction())); err != nil {
		t.Fatal(err)
	}
	stop()
	wantRecords(t, scan(t, disked(t, dir)), "spool.started", "intent", "outcome sent")
}

func TestARecordAlwaysHasATime(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	c, clock := config(dir, p), newClock()
	c.Now = clock.now
	s := open(t, c)
	stop := run(t, s)
	id := mustIntent(t, s, false)
	clock.at.Store(0) // an operator has reset the clock
	if err := s.Outcome(sent(id)); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, r := range scan(t, disked(t, dir)) {
		if r.Time.Before(noon()) {
			t.Fatalf("a record of %s", r.Time)
		}
	}
}

// without skips, or fails where everything must run.
func without(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip("SKIP: " + what)
}

func TestP5_AFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		without(t, "mounting a small disk needs root")
	}
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		without(t, "no tmpfs here: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	p := newPlane()
	p.down = errors.New("away")
	s := open(t, config(dir, p))
	stop := run(t, s)
	var actions []string
	for {
		id := newAction()
		if _, err := s.Intent(t.Context(), intent(id), true); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, id)
	}
	if len(actions) < 10 {
		t.Fatalf("only %d intents on 256 KiB", len(actions))
	}
	if err := s.Outcome(sent(actions[0])); err != nil {
		t.Fatal(err)
	}
	p.set(func(p *plane) { p.down = nil })
	stop()
	if got := len(scan(t, p.frames)); got < 1+len(actions) {
		t.Fatalf("%d records, %d intents were said to be on disk", got, len(actions))
	}
}
