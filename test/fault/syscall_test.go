package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/test/env"
)

// straced says whether this machine lets us tamper.
func straced() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("no strace, which makes a sync slow or fail: make tools: %w", err)
	}
	cmd := exec.Command("strace", "-qq", "-o", os.DevNull, "-e", "inject=fsync:error=EIO", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strace may trace nothing here: %w: %s", err, out)
	}
	return nil
}

// tamper has each sync of a running process treated so, such as error=EIO or
// delay_enter=300000, in microseconds, until what it returns is stopped.
func (d *driver) tamper(p *env.Process, how string) *env.Process {
	d.Helper()
	const syncs = "fsync,fdatasync"
	pid := p.PID()
	strace := d.Program("strace", "strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+syncs, "-e", "inject="+syncs+":"+how, "-p", strconv.Itoa(pid))
	if err := strace.Start(); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = strace.Stop() }) // a process whose tracer stays does not end
	eventually(d, "strace holds "+p.Name, func() error { return tracedBy(pid, strace.PID()) })
	return strace
}

// tracedBy returns nil once each thread of a process is traced by another.
func tracedBy(pid, tracer int) error {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "status"))
	if err != nil {
		return err
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), fmt.Sprintf("\nTracerPid:\t%d\n", tracer)) {
			return fmt.Errorf("%s is not traced", path)
		}
	}
	return nil
}
