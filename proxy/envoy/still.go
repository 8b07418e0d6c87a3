package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"time"
)

// An Envoy that stands still holds requests that were let through, and its deadlines do
// not end them: it would pass them on whenever it runs again, however late. One that
// stood still is killed, so that they reach nobody.
const (
	lookAtChild  = 50 * time.Millisecond
	longestSleep = 100 * time.Millisecond // of the machine, before its Envoy is killed
)

// watch kills the child when it stands still, until ctx ends: when it was stopped, or the
// machine slept.
func (s *Supervisor) watch(ctx context.Context, cmd *exec.Cmd) {
	began := s.cfg.Slept()
	tick := time.NewTicker(lookAtChild)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		why := ""
		if slept := s.cfg.Slept() - began; slept > longestSleep {
			why = fmt.Sprintf("the machine slept for %s", slept.Round(time.Millisecond))
		} else if stopped(cmd.Process.Pid) {
			why = "it was stopped"
		}
		if why != "" {
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "envoy stood still and is killed", slog.Int("pid", cmd.Process.Pid), slog.String("why", why))
			_ = cmd.Process.Kill() // it may have ended by itself
			return
		}
	}
}
