package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Backoff between two starts of Envoy: it doubles from the first to the second,
// and starts again once a child has run for the third.
const (
	restartFirst = 100 * time.Millisecond
	restartCap   = 5 * time.Second
	restartReset = 10 * time.Second
)

// DrainTime is how long the connections of a listener or app that was taken away
// may go on.
const DrainTime = 2 * time.Second

// stopTimeout is how long Envoy may take after SIGTERM before it is killed.
const stopTimeout = 2 * time.Second

const bootstrapFile = "envoy.json"

// SupervisorConfig is what a Supervisor needs. All but Concurrency, Log and Slept are
// required.
type SupervisorConfig struct {
	Binary      Binary // from Find
	Bootstrap   []byte // from Bootstrap
	RunDir      string // the folder of Bootstrap's Config, made with RunDir
	Concurrency int    // worker threads, 0 = one per CPU
	Log         *slog.Logger
	// Slept is how long the machine was suspended since some moment; nil: the kernel's
	// word.
	Slept func() time.Duration
}

// Supervisor keeps one Envoy running as a child that cannot outlive this process.
// Safe for concurrent use.
type Supervisor struct {
	cfg SupervisorConfig

	mu  sync.RWMutex // held while a child is being started
	pid int          // of the running child, 0 if there is none
}

// NewSupervisor checks cfg; Run does the work.
func NewSupervisor(cfg SupervisorConfig) (*Supervisor, error) {
	switch {
	case cfg.Binary.Path == "" || cfg.Binary.Version.less(Floor()):
		return nil, fmt.Errorf("envoy supervisor: want a binary of version %s or newer", Floor())
	case len(cfg.Bootstrap) == 0:
		return nil, errors.New("envoy supervisor: no bootstrap")
	case !filepath.IsAbs(cfg.RunDir):
		return nil, fmt.Errorf("envoy supervisor: run directory %q: want an absolute path", cfg.RunDir)
	case cfg.Concurrency < 0:
		return nil, errors.New("envoy supervisor: concurrency below 0")
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = runtime.NumCPU()
	}
	if cfg.Slept == nil {
		cfg.Slept = slept
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{cfg: cfg}, nil
}

// PID returns the process id of the running Envoy, 0 if none runs. While one is
// being started it waits: a child that already connects is known by then.
func (s *Supervisor) PID() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pid
}

// Run starts Envoy and starts it again whenever it ends, until ctx is done; then
// it stops Envoy (SIGTERM, and SIGKILL after two seconds) and returns nil. SIGTERM
// drains nothing: take the listeners away first. It returns early only if the
// bootstrap cannot be written. Call it once.
func (s *Supervisor) Run(ctx context.Context) error {
	file := filepath.Join(s.cfg.RunDir, bootstrapFile)
	if err := os.WriteFile(file, s.cfg.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("envoy supervisor: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The kernel sends Pdeathsig when the thread that forked ends, not the
		// process. This goroutine keeps its thread until no child is left.
		runtime.LockOSThread()
		s.loop(ctx, file)
	}()
	<-done
	return nil
}

func (s *Supervisor) loop(ctx context.Context, file string) {
	wait := restartFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx, file)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= restartReset {
			wait = restartFirst
		}
		s.cfg.Log.ErrorContext(ctx, "envoy ended", "error", err, "restart_in", wait.String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, restartCap)
	}
}

// once runs one child from start to end.
func (s *Supervisor) once(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, s.cfg.Binary.Path,
		"--config-path", file,
		"--concurrency", strconv.Itoa(s.cfg.Concurrency),
		"--disable-hot-restart",
		"--log-level", "info", // debug would write headers
		"--log-format", logFormat,
		"--drain-time-s", strconv.Itoa(int(DrainTime/time.Second)),
		"--drain-strategy", "immediate",
	)
	cmd.Env = []string{} // nothing of ours, it may hold secrets
	cmd.Dir = s.cfg.RunDir
	cmd.SysProcAttr = childAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	out := &lineLog{log: s.cfg.Log}
	cmd.Stdout, cmd.Stderr = out, out
	if err := s.start(cmd); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	s.cfg.Log.InfoContext(ctx, "envoy started", "pid", cmd.Process.Pid, "version", s.cfg.Binary.Version.String())
	watching, end := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(watching, cmd)
	}()
	err := cmd.Wait()
	end()
	<-watched
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
	out.flush()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

func (s *Supervisor) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	return nil
}
