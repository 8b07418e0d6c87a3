package proxy

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

func openClock(t *testing.T, m *machine, mark string) *Clock {
	t.Helper()
	k, err := OpenClock(ClockConfig{Boot: m.now, Mark: mark})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestP3_TheClockIsNeverLate plays Pongs and looks at t, as an offset from the
// control plane's noon plus what passed since.
func TestP3_TheClockIsNeverLate(t *testing.T) {
	type pong struct {
		took, told time.Duration // told: error of the Pong's time when its transaction read it, at its sending
		pass       time.Duration // afterwards
	}
	for _, c := range []struct {
		name   string
		pongs  []pong
		ahead  time.Duration // of a right clock, at the end
		reason grant.Reason  // of Trusted
	}{
		{"an instant Pong", []pong{{}}, 0, ""},
		{"the Pong's way counts as passed", []pong{{took: 400 * time.Millisecond, told: 400 * time.Millisecond}}, 400 * time.Millisecond, ""},
		{"the largest estimate stays", []pong{{told: time.Second}, {}, {}}, time.Second, ""},
		{"a later one moves it up", []pong{{}, {told: time.Second}}, time.Second, ""},
		{"time runs on without Pongs", []pong{{pass: time.Hour}}, 0, ""},
		{"a slow first Pong counts", []pong{{took: 3 * time.Second}}, 0, ""},
		{"a slow later one does not", []pong{{}, {took: 3 * time.Second, told: 3 * time.Second}}, 0, ""},
		{"the server's clock steps an hour forward", []pong{{}, {told: time.Hour}}, time.Hour, ""},
		{"and back", []pong{{}, {told: time.Hour}, {}}, time.Hour, grant.Clock},
		{"the server's clock steps an hour back", []pong{{}, {told: -time.Hour}}, 0, grant.Clock},
		{"30 s back is believed", []pong{{}, {told: -30 * time.Second}}, 0, ""},
		{"more is not", []pong{{}, {told: -31 * time.Second}}, 0, grant.Clock},
		{"and is not forgiven by a right one", []pong{{}, {told: -time.Hour}, {}}, 0, grant.Clock},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine()
			k := openClock(t, m, filepath.Join(t.TempDir(), "mark"))
			last := time.Time{}
			for _, p := range c.pongs {
				sent := m.now()
				told := m.plane().Add(p.told)
				m.pass(p.took)
				_ = k.Accept(sent, told)
				if now := k.Now(); now.Before(last) {
					t.Fatalf("time stepped back from %s to %s", last, now)
				}
				last = k.Now()
				m.pass(p.pass)
			}
			if got := k.Now().Sub(m.plane()); got != c.ahead {
				t.Errorf("t is %s ahead, want %s", got, c.ahead)
			}
			if got := grant.ReasonOf(k.Trusted()); got != c.reason {
				t.Errorf("trusted: %q, want %q", got, c.reason)
			}
		})
	}
}

func TestP3_AClockThatNeverHeardIsNotTrusted(t *testing.T) {
	m := newMachine()
	k := openClock(t, m, filepath.Join(t.TempDir(), "mark"))
	if grant.ReasonOf(k.Trusted()) != grant.Stale || !k.Now().IsZero() {
		t.Fatalf("trusted: %v, now %s", k.Trusted(), k.Now())
	}
	for _, told := range []time.Time{{}, time.Unix(0, 0), noon().AddDate(400, 0, 0)} {
		if k.Accept(m.now(), told) == nil {
			t.Errorf("a Pong that says %s was accepted", told)
		}
	}
	if k.Accept(m.now()+time.Second, noon()) == nil {
		t.Error("a Pong before its Ping was accepted")
	}
}

func TestP3_TheMarkCarriesTimeOverARestart(t *testing.T) {
	m, mark := newMachine(), filepath.Join(t.TempDir(), "mark")
	k := openClock(t, m, mark)
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("a mark was made of no time")
	}
	accept(t, k, m)
	save(t, k)
	info, err := os.Stat(mark)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mark: %v, %v", info, err)
	}
	m.pass(-30 * time.Minute) // the machine was restarted: its boot clock began anew
	again := openClock(t, m, mark)
	if !again.Now().Equal(noon()) {
		t.Fatalf("t began at %s, want the mark %s", again.Now(), noon())
	}
	if err := again.Accept(m.now(), noon().Add(-time.Hour)); grant.ReasonOf(err) != grant.Clock {
		t.Fatalf("a control plane an hour before the mark: %v", err)
	}
	if err := again.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := again.Accept(m.now(), noon().Add(-time.Hour)); err != nil || !again.Now().Equal(noon().Add(-time.Hour)) {
		t.Fatalf("after a reset: %v, t is %s", err, again.Now())
	}
	save(t, again)
	if got, _ := readMark(mark); !got.Equal(noon().Add(-time.Hour)) {
		t.Fatalf("mark after reset is %s", got)
	}
}

func TestTheMarkIsNeverLowered(t *testing.T) {
	m, mark := newMachine(), filepath.Join(t.TempDir(), "mark")
	if err := writeMark(mark, noon().Add(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	k := openClock(t, m, mark)
	accept(t, k, m) // 10 s below the mark, which is within what is believed
	save(t, k)
	got, err := readMark(mark)
	if err != nil || got.Before(noon().Add(10*time.Second)) {
		t.Fatalf("mark is %s (%v)", got, err)
	}
}

func TestAMarkThatCannotBeReadStopsTheStart(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "half": "2026-11-24T12:00", "words": "yesterday\n", "other zone": "2026-11-24T12:00:00.000000+01:00\n"} {
		t.Run(name, func(t *testing.T) {
			mark := filepath.Join(t.TempDir(), "mark")
			if err := os.WriteFile(mark, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenClock(ClockConfig{Mark: mark}); err == nil {
				t.Fatal("the clock opened")
			}
			if err := RemoveMark(mark); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenClock(ClockConfig{Mark: mark}); err != nil {
				t.Fatalf("after reset-clock: %v", err)
			}
		})
	}
}

func TestADenialOfTheClockIsEachCallersOwn(t *testing.T) {
	m := newMachine()
	k := openClock(t, m, filepath.Join(t.TempDir(), "mark"))
	accept(t, k, m)
	_ = k.Accept(m.now(), noon().Add(-time.Hour))
	a, b := grant.Of(k.Trusted()), grant.Of(k.Trusted())
	if a == b {
		t.Fatal("two callers share one denial, and each gives it an id")
	}
}

func TestBootNowRuns(t *testing.T) {
	if a := BootNow(); a <= 0 || BootNow() < a {
		t.Fatalf("boot clock %s", a)
	}
}

func accept(t *testing.T, k *Clock, m *machine) {
	t.Helper()
	if err := k.Accept(m.now(), noon()); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, k *Clock) {
	t.Helper()
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
}
