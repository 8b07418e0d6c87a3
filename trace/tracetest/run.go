package tracetest

import (
	"context"
	"sync"
	"testing"

	"github.com/mayflyproxy/mayfly/trace"
)

// Run makes a Tracer of s and runs it until the test ends, or until stop, which
// returns when everything that waited is sent.
func Run(t testing.TB, s trace.Settings) (tracer *trace.Tracer, stop func()) {
	t.Helper()
	tracer, err := trace.New(trace.Config{Settings: s, Service: "test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return tracer, stop
}
