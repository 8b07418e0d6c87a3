package envoy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On a busy machine whoever reads two clocks may wait long between them. That is no
// sleep, and no Envoy is killed for it.
func TestAWaitBetweenTwoClocksIsNoSleep(t *testing.T) {
	const asleep, wait = 7 * time.Second, time.Second
	var now time.Duration
	clocks := func(wait map[int]time.Duration) func(int32) time.Duration {
		reading := 0
		return func(clock int32) time.Duration {
			now += time.Microsecond + wait[reading]
			if reading++; clock == unix.CLOCK_BOOTTIME {
				return now + asleep
			}
			return now
		}
	}
	for reading := range 6 {
		if got := sleptBy(clocks(map[int]time.Duration{reading: wait, reading + 1: wait})); got < asleep || got > asleep+tight {
			t.Errorf("waited before reading %d: slept %s, want %s", reading, got, asleep)
		}
	}
}
