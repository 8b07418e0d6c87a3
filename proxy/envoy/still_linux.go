package envoy

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// slept is how long the machine was suspended since it started.
func slept() time.Duration {
	var all, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano())
}

// stopped reports whether a process is stopped, by a signal or by a tracer.
func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name before may hold anything, so the state follows the last parenthesis.
	after := b[bytes.LastIndexByte(b, ')')+1:]
	return len(after) > 1 && (after[1] == 'T' || after[1] == 't')
}
