package envoy

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tight is how long reading the clocks may take for them to be of one moment.
const tight = time.Millisecond

// readings is how often they are read at most: then the best counts.
const readings = 100

// slept is how long the machine was suspended since it started. Whoever waits for a
// processor between two clocks would take the wait for sleep: then they are read again.
func slept() time.Duration { return sleptBy(read) }

func sleptBy(read func(clock int32) time.Duration) time.Duration {
	slept, width := time.Duration(0), time.Duration(math.MaxInt64)
	for range readings {
		before, all, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC)
		if after-before < width {
			slept, width = all-before, after-before
		}
		if width < tight {
			break
		}
	}
	return slept
}

func read(clock int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // of clocks that every kernel has
	return time.Duration(t.Nano())
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
