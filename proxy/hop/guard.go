package hop

import (
	"context"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/proxy"
)

// lastWords is how long Envoy may take to read what is said after a cut.
const lastWords = time.Second

// guard cuts the request when its access ends, by time or otherwise: the context
// is cancelled, a caller that is still uploading is not waited for, and one that
// does not read is not waited for long. stop ends the guard before the handler
// returns.
func (h *Handler) guard(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, a proxy.Action) (stop func()) {
	done := make(chan struct{})
	control := http.NewResponseController(w)
	hold := h.c.Hold(a)
	cut := false
	go func() {
		defer close(done)
		why := hold.Wait(ctx)
		if cut = why != nil; cut {
			cancel(why)
			_ = control.SetReadDeadline(time.Now())
			_ = control.SetWriteDeadline(time.Now().Add(lastWords))
		}
		hold.LetGo(cut)
	}()
	return func() {
		cancel(nil)
		<-done
		if cut { // the connection's next request has its own time
			_ = control.SetWriteDeadline(time.Time{})
		}
	}
}
