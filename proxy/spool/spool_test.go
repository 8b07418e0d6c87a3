package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestTheRecordHoldsWhatWasSaid(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	s := open(t, config(dir, p))
	stop := run(t, s)
	id := newAction()
	mark, err := s.Intent(t.Context(), intent(id), true)
	if err != nil {
		t.Fatal(err)
	}
	if seq, head := s.Head(); mark.Seq != 2 || seq < 2 || mark.Spool != s.ID() || head.IsZero() {
		t.Fatalf("mark %+v, head %d", mark, seq)
	}
	frames := disked(t, dir)
	records := scan(t, frames)
	if got := frameSHA(t, frames, int(mark.Seq)); got != mark.Frame {
		t.Fatalf("mark %s, the frame is %s", mark.Frame, got)
	}
	wantRecords(t, records, "spool.started", "intent")
	if err := s.Outcome(sent(id)); err != nil {
		t.Fatal(err)
	}
	if !s.Denied(audit.Denied{Denial: "den_01ARZ3NDEKTSV4RRFFQ69G5FAV", Code: "no_grant", Try: intent(newAction()).Try}) {
		t.Fatal("a first denial is only counted")
	}
	s.Count(grant.NoIdentity)
	s.Count(grant.NoIdentity)
	stop()
	got := summary(t, scan(t, p.frames))
	if len(got) != 5 || got[2] != "denied" && got[3] != "denied" || got[4] != "denied_count" && got[3] != "denied_count" {
		t.Fatalf("at mayflyd: %q", got)
	}
	if string(p.frames) != string(disked(t, dir)) || s.Pending() != 0 {
		t.Fatal("mayflyd has other frames than the disk")
	}
}

func frameSHA(t *testing.T, b []byte, seq int) audit.Hash {
	t.Helper()
	for range seq - 1 {
		f, err := audit.NextFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[f.Size:]
	}
	f, err := audit.NextFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	return f.SHA256()
}

func TestOpenRefuses(t *testing.T) {
	p := newPlane()
	for name, c := range map[string]struct {
		change func(*Config)
		lay    map[string]string
		want   string
	}{
		"no folder":                  {change: func(c *Config) { c.Dir = "" }, want: "required"},
		"a time that is not known":   {change: func(c *Config) { c.Now = func() time.Time { return time.Time{} } }, want: "time is not known"},
		"frames without an id":       {lay: map[string]string{"00000000000000000001.frames": ""}, want: "no id"},
		"an id that is none":         {lay: map[string]string{"id": "spl_1\n"}, want: "holds no spool id"},
		"a first file with no frame": {lay: map[string]string{"id": validID(), "00000000000000000007.frames": ""}, want: "cut short"},
		"files that do not follow":   {lay: map[string]string{"id": validID(), "00000000000000000001.frames": "", "00000000000000000009.frames": ""}, want: "frames are missing"},
		"a stranger's file":          {lay: map[string]string{"id": validID(), "zero.frames": ""}, want: "not a file of frames"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range c.lay {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			conf := config(dir, p)
			if c.change != nil {
				c.change(&conf)
			}
			if _, err := Open(conf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

func validID() string { return grant.NewMinter().NewSpoolID(noon()).String() + "\n" }

func TestASecondProcessIsRefused(t *testing.T) {
	dir, p := t.TempDir(), newPlane()
	s := open(t, config(dir, p))
	if _, err := Open(config(dir, p)); err == nil || !strings.Contains(err.Error(), "held by another process") {
		t.Fatalf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, config(dir, p))
	if again.ID() != s.ID() {
		t.Fatalf("the folder has a new id: %s, then %s", s.ID(), again.ID())
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// childDir tells the test binary that it is the process to be killed.
const childDir = "MAYFLY_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints the action of each durable intent when it is said to be
// on disk, and of each outcome before it is written.
func writeUntilKilled(dir string) {
	s, err := Open(config(dir, newPlane()))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { _ = s.Run(context.Background()) }()
	for range 8 {
		go func() {
			for n := 0; ; n++ {
				id := newAction()
				if _, err := s.Intent(context.Background(), intent(id), true); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				fmt.Println(id)
				if n%2 == 0 {
					_ = s.Outcome(sent(id))
				}
			}
		}()
	}
	select {}
}

func TestP5_DurableIntentsSurviveAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	pipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	var line string
	for len(said) < 200 {
		if _, err := fmt.Fscanln(pipe, &line); err != nil {
			t.Fatal(err, line)
		}
		said = append(said, line)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := fmt.Fscanln(pipe, &line); err != nil {
			break
		}
		said = append(said, line)
	}
	_ = child.Wait()

	p := newPlane()
	s := open(t, config(dir, p))
	run(t, s)()
	outcomes, intents := map[string][]audit.Outcome{}, map[string]bool{}
	for _, r := range scan(t, p.frames) {
		switch r.Type {
		case audit.TypeActionIntent:
			var i audit.Intent
			if err := r.Into(&i); err != nil {
				t.Fatal(err)
			}
			intents[i.Action] = true
		case audit.TypeActionOutcome:
			var o audit.Outcome
			if err := r.Into(&o); err != nil || !intents[o.Action] {
				t.Fatal("an outcome without its intent before it: ", o, err)
			}
			outcomes[o.Action] = append(outcomes[o.Action], o)
		}
	}
	unknown := 0
	for id := range intents {
		if len(outcomes[id]) != 1 {
			t.Fatalf("%s has the outcomes %v", id, outcomes[id])
		}
		if o := outcomes[id][0]; o.Result == audit.ResultUnknown && o.Reason == audit.ReasonRestart {
			unknown++
		}
	}
	for _, id := range said {
		if !intents[id] {
			t.Fatalf("%s was said to be on disk, and is not", id)
		}
	}
	if unknown < len(said)/3 {
		t.Fatalf("%d of %d were closed by the restart", unknown, len(said))
	}
}

func TestATornTailIsCutAndNothingElse(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	s := open(t, config(dir, p))
	stop := run(t, s)
	mustIntent(t, s, true)
	mustIntent(t, s, true)
	stop()
	whole := disked(t, dir)
	name := filepath.Base(fileName(dir, 1))
	second := len(whole) - sizeOfLast(t, whole)
	for _, c := range []struct {
		name    string
		content []byte
		kept    int // intents
		refused bool
	}{
		{"whole", whole, 2, false},
		{"one byte less", whole[:len(whole)-1], 1, false},
		{"only the length of the last", whole[:second+4], 1, false},
		{"zeros after the end", append(append([]byte{}, whole...), make([]byte, 512)...), 2, false},
		{"a changed byte before good frames", flip(whole, second-20), 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, dir)
			if err := os.WriteFile(filepath.Join(dir, name), c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			p := newPlane()
			s, err := Open(config(dir, p))
			if c.refused {
				var corrupt *audit.CorruptError
				if !errors.As(err, &corrupt) {
					t.Fatalf("opened a damaged spool: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			run(t, s)()
			got := strings.Join(summary(t, scan(t, p.frames)), ", ")
			want := "spool.started" + strings.Repeat(", intent", c.kept) + ", spool.started" + strings.Repeat(", outcome unknown restart", c.kept)
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		})
	}
}

func sizeOfLast(t *testing.T, b []byte) (n int) {
	t.Helper()
	for len(b) > 0 {
		f, err := audit.NextFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		n, b = f.Size, b[f.Size:]
	}
	return n
}

func flip(b []byte, at int) []byte {
	out := append([]byte{}, b...)
	out[at] ^= 1
	return out
}

func TestManyWritersAtOnce(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	c := config(dir, p)
	c.Limit = 4 << 20
	s := open(t, c)
	stop := run(t, s)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 50 {
				id := newAction()
				if _, err := s.Intent(context.Background(), intent(id), i%2 == 0); err != nil {
					t.Error(err)
					return
				}
				s.Head()
				s.Denied(audit.Denied{Denial: "den_01ARZ3NDEKTSV4RRFFQ69G5FAV", Code: "scope", Try: audit.Try{Action: newAction(), Principal: fmt.Sprint("p_", n)}})
				s.Count(grant.BadCertificate)
				if err := s.Outcome(sent(id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stop()
	intents, outcomes := map[string]bool{}, 0
	for _, r := range scan(t, p.frames) {
		switch r.Type {
		case audit.TypeActionIntent:
			var i audit.Intent
			if err := r.Into(&i); err != nil {
				t.Fatal(err)
			}
			intents[i.Action] = true
		case audit.TypeActionOutcome:
			var o audit.Outcome
			if err := r.Into(&o); err != nil || !intents[o.Action] {
				t.Fatalf("outcome %v before its intent: %v", o, err)
			}
			outcomes++
		}
	}
	if len(intents) != 800 || outcomes != 800 || len(s.open) != 0 {
		t.Fatalf("%d intents, %d outcomes, %d open", len(intents), outcomes, len(s.open))
	}
}

func BenchmarkIntent(b *testing.B) {
	for name, durable := range map[string]bool{"read": false, "write": true} {
		b.Run(name, func(b *testing.B) {
			s := open(b, config(b.TempDir(), newPlane()))
			run(b, s)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.Outcome(sent(mustIntent(b, s, durable)))
				}
			})
		})
	}
}

func rebound(action string) audit.Rebound {
	return audit.Rebound{Action: action, From: intent(action).Grant, Grant: "grt_01ARZ3NDEKTSV4RRFFQ69G5FAX"}
}

func TestP5_ThatAStreamGoesOnIsWrittenBeforeItsOutcome(t *testing.T) {
	for name, durable := range map[string]bool{"read": false, "write": true} {
		t.Run(name, func(t *testing.T) {
			p, dir := newPlane(), t.TempDir()
			s := open(t, config(dir, p))
			stop := run(t, s)
			id := mustIntent(t, s, durable)
			if err := s.Rebound(t.Context(), rebound(id), durable); err != nil {
				t.Fatal(err)
			}
			wantRecords(t, scan(t, disked(t, dir)), "spool.started", "intent", "rebound")
			if err := s.Outcome(sent(id)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the outcome is written", func() bool { seq, _ := s.Head(); return seq == 4 })
			if err := s.Rebound(t.Context(), rebound(id), durable); !errors.Is(err, ErrNoIntent) {
				t.Errorf("after its outcome: %v", err)
			}
			if err := s.Rebound(t.Context(), rebound(newAction()), durable); !errors.Is(err, ErrNoIntent) {
				t.Errorf("without an intent: %v", err)
			}
			stop()
			wantRecords(t, scan(t, p.frames), "spool.started", "intent", "rebound", "outcome sent")
		})
	}
}

func TestP5_AStreamThatWentOnIsUnknownAfterARestart(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	s := open(t, config(dir, p))
	run(t, s)
	id := mustIntent(t, s, true)
	if err := s.Rebound(t.Context(), rebound(id), true); err != nil {
		t.Fatal(err)
	}
	killed := folder(t, dir)
	again := open(t, config(killed, newPlane()))
	defer func() { _ = again.Close() }()
	wantRecords(t, scan(t, disked(t, killed)), "spool.started", "intent", "rebound", "spool.started", "outcome unknown restart")
}

func TestP5_NoStreamGoesOnThatTheDiskDoesNotTake(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(*trouble)
		durable bool
	}{
		"a write that fails":       {func(d *trouble) { d.write = errors.New("no space") }, false},
		"a sync that fails":        {func(d *trouble) { d.sync = errors.New("I/O error") }, true},
		"a sync that does not end": {func(d *trouble) { d.hold = make(chan struct{}) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, conf := &trouble{}, config(t.TempDir(), newPlane())
			conf.openFile = d.open
			s := open(t, conf)
			stop := run(t, s)
			id := mustIntent(t, s, true)
			d.set(c.trouble)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := s.Rebound(ctx, rebound(id), c.durable); err == nil {
				t.Error("it goes on")
			}
			d.set(func(d *trouble) {
				if d.hold != nil {
					close(d.hold)
				}
				d.write, d.sync, d.hold = nil, nil, nil
			})
			stop()
		})
	}
}
