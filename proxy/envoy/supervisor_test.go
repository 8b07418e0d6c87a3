package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is a program in Envoy's place. It says on standard error what it was
// started with and then waits.
const child = `#!/bin/sh
trap 'echo "warning main: TERM" >&2; exit 0' TERM
echo "info main: env=[$(env | grep -v -e '^PWD=' -e '^_=' -e '^SHLVL=' -e '^OLDPWD=')] args=[$*]" >&2
%s
while :; do sleep 0.05; done
`

func supervise(t *testing.T, extra string) (s *Supervisor, lines <-chan string, stop func() error) {
	t.Helper()
	return superviseWith(t, extra, func(*SupervisorConfig) {})
}

func superviseWith(t *testing.T, extra string, change func(*SupervisorConfig)) (s *Supervisor, lines <-chan string, stop func() error) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "envoy")
	if err := os.WriteFile(program, fmt.Appendf(nil, child, extra), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAYFLY_SECRET", "for nobody else")
	out := make(chan string, 100)
	config := SupervisorConfig{
		Binary: Binary{program, Floor()}, Bootstrap: []byte("{}"), RunDir: dir, Concurrency: 3,
		Log: slog.New(slog.NewTextHandler(lineWriter(out), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&config)
	s, err := NewSupervisor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return s, out, stop
}

type lineWriter chan<- string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- strings.TrimSpace(string(p))
	return len(p), nil
}

// await returns the first line that holds all of want.
func await(t *testing.T, lines <-chan string, want ...string) string {
	t.Helper()
	give := time.After(20 * time.Second)
next:
	for {
		select {
		case l := <-lines:
			for _, w := range want {
				if !strings.Contains(l, w) {
					continue next
				}
			}
			return l
		case <-give:
			t.Fatalf("no line with %q", want)
		}
	}
}

func TestSupervisorStartsRestartsAndStops(t *testing.T) {
	s, lines, stop := supervise(t, "")
	started := await(t, lines, "env=[]") // nothing of our environment
	for _, want := range []string{"--concurrency 3", "--disable-hot-restart", "--log-level info", "--drain-strategy immediate"} {
		if !strings.Contains(started, want) {
			t.Errorf("started with %s, without %s", started, want)
		}
	}
	first := s.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "envoy ended", "signal: killed", "restart_in=100ms")
	await(t, lines, "env=[]")
	second := s.PID()
	if second == 0 || second == first {
		t.Errorf("pid %d after %d", second, first)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	await(t, lines, "level=WARN", "main: TERM")
	if s.PID() != 0 || alive(second) {
		t.Error("it still runs")
	}
	info, err := os.Stat(filepath.Join(s.cfg.RunDir, bootstrapFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("bootstrap file: %v %v", info, err)
	}
}

func TestSupervisorKillsWhatDoesNotStop(t *testing.T) {
	s, lines, stop := supervise(t, "trap '' TERM; echo 'info main: deaf' >&2")
	await(t, lines, "deaf")
	pid := s.PID()
	if err := stop(); err != nil || alive(pid) {
		t.Errorf("%v, alive: %v", err, alive(pid))
	}
}

func TestSupervisorWaitsLongerEachTime(t *testing.T) {
	_, lines, _ := supervise(t, "exit 1")
	for _, want := range []string{"100ms", "200ms", "400ms"} {
		await(t, lines, "exit status 1", "restart_in="+want)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// TestEnvoyDiesWithTheSidecar kills a process that supervises a child and looks
// whether the child goes too.
func TestEnvoyDiesWithTheSidecar(t *testing.T) {
	if os.Getenv("SUPERVISE_AND_HANG") != "" {
		_, lines, _ := supervise(t, "echo \"info main: shell=$$.\" >&2")
		fmt.Println(await(t, lines, "shell="))
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEnvoyDiesWithTheSidecar$")
	cmd.Env = append(os.Environ(), "SUPERVISE_AND_HANG=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(line[strings.Index(line, "shell="):], "shell=%d.", &pid); err != nil || !alive(pid) {
		t.Fatalf("%q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil { // ends when nobody holds the pipe
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the supervisor ended by itself")
	}
	deadline := time.Now().Add(10 * time.Second)
	for running(pid) {
		if time.Now().After(deadline) {
			t.Fatal("the child outlives its supervisor")
		}
	}
}

// running reports whether pid runs; one that is dead and unburied does not.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestEnvoysLogLines(t *testing.T) {
	lines := make(chan string, 20)
	l := &lineLog{log: slog.New(slog.NewTextHandler(lineWriter(lines), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, part := range []string{"war", "ning config: NACK\nand more\n", "error x: " + strings.Repeat("a", 2*maxLine) + "\n\n", "critical no newline\xff"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.flush()
	for _, want := range []string{`level=WARN msg=envoy line="config: NACK"`, `level=WARN msg=envoy line="and more"`, "level=ERROR msg=envoy line=\"x: aaa", `level=ERROR msg=envoy line="no newline?"`} {
		if got := <-lines; !strings.Contains(got, want) || len(got) > 2*maxLine {
			t.Errorf("got %.200s, want %s", got, want)
		}
	}
}
