package trace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// hanging is a collector that takes nothing and says nothing.
type hanging struct{ began chan struct{} }

func (hanging) Start(context.Context) error { return nil }
func (hanging) Stop(context.Context) error  { return nil }
func (h hanging) UploadTraces(ctx context.Context, _ []*tracepb.ResourceSpans) error {
	select {
	case h.began <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return errors.Join(errors.New("nobody answered"), ctx.Err())
}

// TestTheEndWaitsFiveSecondsForACollector: whether an export is under way or only
// waits, Run returns at most 5 s after its context ended.
func TestTheEndWaitsFiveSecondsForACollector(t *testing.T) {
	for _, underWay := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x, err := New(Config{Settings: Settings{Endpoint: "http://127.0.0.1:1", Insecure: true, Timeout: time.Minute}, Service: "test"})
			if err != nil {
				t.Fatal(err)
			}
			h := hanging{make(chan struct{}, 1)}
			x.export = h
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- x.Run(ctx) }()
			for range 3 {
				x.Emit(Span{})
			}
			if underWay {
				<-h.began
			}
			began := time.Now()
			cancel()
			if err := <-done; err != nil || time.Since(began) > flushTime {
				t.Errorf("%v after %s", err, time.Since(began))
			}
			if s := x.Stats(); s.Lost != 3 || s.Exported != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAnExportEndsAtItsTimeout: a collector that never answers costs the spans of one
// batch, and the next is tried.
func TestAnExportEndsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, err := New(Config{Settings: Settings{Endpoint: "http://127.0.0.1:1", Insecure: true, Timeout: 3 * time.Second}, Service: "test"})
		if err != nil {
			t.Fatal(err)
		}
		h := hanging{make(chan struct{}, 1)}
		x.export = h
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		for range 2 {
			x.Emit(Span{})
			<-h.began
			time.Sleep(3*time.Second + time.Millisecond) // in the bubble
		}
		if s := x.Stats(); s.Lost != 2 {
			t.Errorf("%+v", s)
		}
		cancel()
		<-done
	})
}

// TestOneSecretInsideAnother: no part of the longer one is left.
func TestOneSecretInsideAnother(t *testing.T) {
	h := headers{values: map[string]string{"x-tenant": "s3cr3t", "authorization": "Bearer s3cr3t-canary"}}
	for range 20 {
		if got := h.hide("no s3cr3t-canary of s3cr3t"); got != "no redacted of redacted" {
			t.Fatalf("it says %q", got)
		}
	}
}
