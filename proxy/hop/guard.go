package hop

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/proxy"
)

// errEnded is the cause of a request that was cut because its grant ended by
// anything but its time; context.DeadlineExceeded that of one at its deadline.
var errEnded = errors.New("the grant ended")

const (
	// guardEvery is how often t is read: timers stand still while the machine is
	// suspended, and t can move forward.
	guardEvery = 100 * time.Millisecond
	// lastWords is how long Envoy may take to read what is said after a cut.
	lastWords = time.Second
)

// guard cuts the request when its grant ends, by time or otherwise: the context
// is cancelled, a caller that is still uploading is not waited for, and one that
// does not read is not waited for long. stop ends the guard before the handler
// returns.
func (h *Handler) guard(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, a proxy.Action) (stop func()) {
	done := make(chan struct{})
	control := http.NewResponseController(w)
	cut := false
	go func() {
		defer close(done)
		cause := h.end(ctx, a)
		if cause == nil {
			return
		}
		cut = true
		cancel(cause)
		_ = control.SetReadDeadline(time.Now())
		_ = control.SetWriteDeadline(time.Now().Add(lastWords))
	}()
	return func() {
		cancel(nil)
		<-done
		if cut { // the connection's next request has its own time
			_ = control.SetWriteDeadline(time.Time{})
		}
	}
}

// end waits for the end of the action's access and returns what ended it; nil if
// ctx ended first.
func (h *Handler) end(ctx context.Context, a proxy.Action) error {
	gone := h.c.Gate.Gone(a.Grant)
	for {
		left := a.Deadline.Sub(h.c.Now())
		if left <= 0 {
			return context.DeadlineExceeded
		}
		timer := time.NewTimer(min(left, guardEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-gone:
			timer.Stop()
			return errEnded
		case <-timer.C:
		}
	}
}
