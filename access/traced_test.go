package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

// watchedWorld is a world whose traces go to a collector; spans stops the export and
// returns those of one request, by their end.
func watchedWorld(t *testing.T, wrap func(access.Store) access.Store) (*world, *tracetest.Receiver, func(grant.RequestID) []tracetest.Span) {
	t.Helper()
	r := tracetest.New(t)
	tracer, stop := tracetest.Run(t, r.Settings())
	if wrap == nil {
		wrap = func(s access.Store) access.Store { return s }
	}
	return newWorldTraced(t, tracer, wrap), r, func(id grant.RequestID) []tracetest.Span {
		stop()
		return tracetest.Of(r.Spans(), "mayfly.request.id", id.String())
	}
}

func spanNames(spans []tracetest.Span) string {
	var out []string
	for _, s := range spans {
		out = append(out, strings.TrimPrefix(s.Name, "mayfly."))
	}
	return strings.Join(out, " ")
}

// TestARequestIsOneTrace drives a request through each way that it can go.
func TestARequestIsOneTrace(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *world) grant.RequestID
		want string
	}{
		{"by rule, and its time ends", func(t *testing.T, w *world) grant.RequestID {
			r := w.ask(w.as(carol), reports(), access.Approved)
			w.pass(24 * time.Hour)
			if err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision closed activation feed end feed"},
		{"approved, revoked, receipts", func(t *testing.T, w *world) grant.RequestID {
			r := w.granted()
			heard := w.join("1")
			w.join("2")
			rev, err := w.Revoke(t.Context(), w.as(dave), r.Grant, "canary: why it was revoked")
			if err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
			if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: heard, At: rev.At}}); err != nil {
				t.Fatal(err)
			}
			w.pass(2 * time.Minute)
			if err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision approval decision closed activation feed revoke feed receipt receipt receipts"},
		{"finished", func(t *testing.T, w *world) grant.RequestID {
			r := w.granted()
			if _, err := w.Finish(t.Context(), w.as(refunder), r.Grant); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision approval decision closed activation feed finish feed"},
		{"refused by a person", func(t *testing.T, w *world) grant.RequestID {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			if _, err := w.Deny(t.Context(), w.as(bob), r.ID, "canary: why not"); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision closed"},
		{"refused by policy", func(t *testing.T, w *world) grant.RequestID {
			a := refund()
			a.Duration = 20 * time.Hour
			return w.ask(w.as(refunder), a, access.Denied).ID
		}, "request decision closed"},
		{"withdrawn", func(t *testing.T, w *world) grant.RequestID {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			if _, err := w.Withdraw(t.Context(), w.as(refunder), r.ID); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision closed"},
		{"nobody decides", func(t *testing.T, w *world) grant.RequestID {
			r := w.ask(w.as(refunder), refund(), access.Pending)
			w.pass(time.Hour)
			if _, err := w.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.ID
		}, "request offer decision closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r, spansOf := watchedWorld(t, nil)
			id := c.run(t, w)
			out, err := w.Trace(t.Context(), w.as(refunder), id.String())
			if err != nil {
				out, err = w.Trace(t.Context(), w.as(carol), id.String())
			}
			if err != nil {
				t.Fatal(err)
			}
			spans := spansOf(id)
			if got := spanNames(spans); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			want, root := trace.OfRequest(id)
			for _, s := range spans {
				parent := root.String()
				if s.Name == string(trace.Request) {
					parent = ""
				}
				if s.Trace != want.String() || s.Parent != parent || s.End.Before(s.Begin) || s.Service == "" {
					t.Errorf("%s, below %s of %s", tracetest.Lines([]tracetest.Span{s}), root, want)
				}
				if s.Name == string(trace.Feed) && s.Attributes["mayfly.feed.revision"] == "" {
					t.Errorf("%v", s.Attributes)
				}
			}
			if out.TraceIDs[id.String()] != want.String() {
				t.Errorf("mayfly trace leads to %v", out.TraceIDs)
			}
			r.Allowed(t, "canary", "parcel", alice, bob, carol, dave, "ch_1", refunder)
		})
	}
}

func TestReceiptsTellWhoAcknowledged(t *testing.T) {
	w, _, spansOf := watchedWorld(t, nil)
	r := w.granted()
	heard, silent := w.join("1"), w.join("2")
	rev, err := w.Revoke(t.Context(), w.as(dave), r.Grant, "")
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: heard, At: rev.At}}); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Minute)
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := spansOf(r.ID)
	all := tracetest.Named(spans, trace.Receipts)[0]
	if all.Attributes["mayfly.receipts.acked"] != "1" || all.Attributes["mayfly.receipts.closed"] != "1" || all.End.Sub(all.Begin).Round(time.Second) != 121*time.Second {
		t.Errorf("%s", tracetest.Lines(spans))
	}
	for _, c := range []struct {
		instance feed.Instance
		how      string
	}{{heard, "acked"}, {silent, "closed"}} {
		got := tracetest.Of(tracetest.Named(spans, trace.Receipt), "mayfly.instance", c.instance.String())
		if len(got) != 1 || got[0].Attributes["mayfly.result"] != c.how || got[0].End.After(all.End) {
			t.Errorf("%s of %s", tracetest.Lines(got), c.instance)
		}
		if c.how == "acked" && got[0].End.Sub(got[0].Begin).Round(100*time.Millisecond) != time.Second {
			t.Errorf("acknowledged after %s", got[0].End.Sub(got[0].Begin))
		}
	}
}

// again is a store that runs every transaction twice, and takes the first back, as
// after a conflict.
type again struct{ access.Store }

var errConflict = errors.New("conflict")

func (s again) Update(ctx context.Context, f func(access.Tx) error) error {
	err := s.Store.Update(ctx, func(tx access.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return errConflict
	})
	if !errors.Is(err, errConflict) {
		return err
	}
	return s.Store.Update(ctx, f)
}

// TestATransactionThatIsTriedAgainIsToldOnce: and only with the ids that were
// committed.
func TestATransactionThatIsTriedAgainIsToldOnce(t *testing.T) {
	w, c, spansOf := watchedWorld(t, func(s access.Store) access.Store { return again{s} })
	r := w.granted()
	if got := spanNames(spansOf(r.ID)); got != "request offer decision approval decision closed activation feed" {
		t.Error(got)
	}
	for _, s := range c.Spans() {
		if s.Attributes["mayfly.request.id"] != r.ID.String() || s.Attributes["mayfly.grant.id"] != "" && s.Attributes["mayfly.grant.id"] != r.Grant.String() {
			t.Errorf("told of what was taken back: %s", tracetest.Lines([]tracetest.Span{s}))
		}
	}
}

// TestNoSpanOfWhatWasNotCommitted: every write of two verbs fails once.
func TestNoSpanOfWhatWasNotCommitted(t *testing.T) {
	var f *failing
	w, _, spansOf := watchedWorld(t, func(s access.Store) access.Store { f = &failing{Store: s}; return f })
	var r access.Request
	failures := 0
	for _, verb := range []func() error{
		func() (err error) { r, err = w.Request(t.Context(), w.as(refunder), refund()); return err },
		func() (err error) { _, err = w.Approve(t.Context(), w.as(bob), r.ID, r.OfferDigest, ""); return err },
	} {
		for n := 1; n < 60; n++ {
			f.left = n
			if err := verb(); err == nil {
				break
			} else if !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			failures++
		}
	}
	if got := spanNames(spansOf(r.ID)); got != "request offer decision approval decision closed activation feed" || failures < 6 {
		t.Errorf("%s after %d failures", got, failures)
	}
}

func TestARepeatedRequestIsToldOnce(t *testing.T) {
	w, _, spansOf := watchedWorld(t, nil)
	a := refund()
	a.IdempotencyKey = "k"
	first := w.ask(w.as(refunder), a, access.Pending)
	if second := w.ask(w.as(refunder), a, access.Pending); second.ID != first.ID {
		t.Fatal("another request")
	}
	if got := spanNames(spansOf(first.ID)); got != "request offer decision" {
		t.Error(got)
	}
}

// TestASlowCollectorHoldsNoVerbUp: verbs return while the collector has not answered
// the first span.
func TestASlowCollectorHoldsNoVerbUp(t *testing.T) {
	c := tracetest.New(t)
	release := make(chan struct{})
	c.Answer(func(int, int) (*coltracepb.ExportTraceServiceResponse, error) {
		<-release
		return &coltracepb.ExportTraceServiceResponse{}, nil
	})
	s := c.Settings()
	s.Queue, s.Timeout = 2, time.Minute
	tracer, _ := tracetest.Run(t, s)
	w := newWorldTraced(t, tracer, func(s access.Store) access.Store { return s })
	w.granted()
	<-c.Received()
	for range 3 {
		w.ask(w.as(carol), reports(), access.Approved)
	}
	if got := tracer.Stats(); got.Exported != 0 || got.Dropped == 0 || got.Waiting > 2 {
		t.Errorf("%+v", got)
	}
	close(release)
}

// TestWithoutTracesNobodyIsLedAnywhere: mayfly trace shows no trace id that nobody
// exported.
func TestWithoutTracesNobodyIsLedAnywhere(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	out, err := w.Trace(t.Context(), w.as(refunder), r.ID.String())
	if err != nil || len(out.TraceIDs) > 0 {
		t.Errorf("%v, %v", out.TraceIDs, err)
	}
}
