package envoy

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What is stopped is killed, and cannot go on later with what it held.
func TestP3_AnEnvoyThatStandsStillIsKilled(t *testing.T) {
	s, lines, _ := supervise(t, "")
	await(t, lines, "env=[]")
	first := s.PID()
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "envoy stood still and is killed", "it was stopped")
	await(t, lines, "envoy ended", "signal: killed")
	await(t, lines, "env=[]")
	if second := s.PID(); second == first || alive(first) {
		t.Errorf("pid %d after %d", second, first)
	}
}

// Envoy's deadlines do not count the time in which the machine was suspended.
func TestP3_AnEnvoyThatSleptIsKilled(t *testing.T) {
	var asleep atomic.Int64
	s, lines, _ := superviseWith(t, "", func(c *SupervisorConfig) {
		c.Slept = func() time.Duration { return time.Duration(asleep.Load()) }
	})
	await(t, lines, "env=[]")
	first := s.PID()
	asleep.Store(int64(time.Hour))
	await(t, lines, "envoy stood still and is killed", "slept for 1h")
	await(t, lines, "env=[]") // the next one has not slept
	if second := s.PID(); second == first || alive(first) {
		t.Errorf("pid %d after %d", second, first)
	}
}
