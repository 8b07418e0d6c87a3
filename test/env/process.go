package env

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one program under our hand. Its output goes to a file.
type Process struct {
	Name string
	Log  string // path of its output
	argv []string
	env  []string
	dir  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the current run has ended
	err  error
}

// newProcess describes a program; Start starts it.
func newProcess(name, dir, log string, env []string, argv ...string) *Process {
	return &Process{Name: name, Log: log, argv: argv, env: env, dir: dir}
}

// Program describes one more program, which whoever starts it ends. Its output goes to
// a file beside the others'.
func (e *Env) Program(name string, argv ...string) *Process {
	return newProcess(name, e.Dir, e.path(name+".log"), os.Environ(), argv...)
}

// Start starts the program. One that runs already is an error.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, out, out
	// What we started does not outlive us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done, started := make(chan struct{}), make(chan error)
	go p.hold(cmd, out, done, started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// hold starts cmd and waits for its end on a thread that nobody else gets: Linux
// ends the program with the thread that started it, and others' goroutines may end
// theirs.
func (p *Process) hold(cmd *exec.Cmd, out *os.File, done chan struct{}, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err != nil {
		_ = out.Close()
		return
	}
	err = cmd.Wait()
	_ = out.Close()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(done)
}

func (p *Process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID returns the process id, 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the running program.
func (p *Process) Signal(s syscall.Signal) error {
	if pid := p.PID(); pid != 0 {
		return syscall.Kill(pid, s)
	}
	return fmt.Errorf("%s does not run", p.Name)
}

// Freeze stops the program with SIGSTOP and waits until each of its threads has
// stopped; SIGCONT lets it go on.
func (p *Process) Freeze(ctx context.Context) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return Eventually(ctx, p.Name+" stops", func() error {
		tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.PID()), "task", "*", "stat"))
		if err != nil {
			return err
		}
		for _, t := range tasks {
			text, err := os.ReadFile(t)
			if err != nil {
				return err
			}
			_, rest, _ := strings.Cut(string(text), ") ")
			if !strings.HasPrefix(rest, "T") {
				return fmt.Errorf("%s runs", t)
			}
		}
		return nil
	})
}

// Kill ends the program with SIGKILL and waits until it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL, 10*time.Second) }

// Stop asks the program to end, and ends it if it does not within five seconds.
func (p *Process) Stop() error {
	if p.PID() == 0 {
		return nil
	}
	_ = p.Signal(syscall.SIGCONT)
	if err := p.end(syscall.SIGTERM, 5*time.Second); err == nil {
		return nil
	}
	return p.Kill()
}

func (p *Process) end(s syscall.Signal, within time.Duration) error {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if err := p.Signal(s); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s did not end on %s", p.Name, s)
	}
}

// Ended is closed when the current run has ended.
func (p *Process) Ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Children returns the process ids of the program's children, such as Envoy's.
// Linux lists them by the thread that started them.
func (p *Process) Children() ([]int, error) {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.PID()), "task", "*", "children"))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			out = append(out, pid)
		}
	}
	return out, nil
}

// Eventually asks until f returns nil, or gives up when ctx ends with its last error.
func Eventually(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}
