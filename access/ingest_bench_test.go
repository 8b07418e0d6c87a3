package access_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// BenchmarkIngest stores what ten gateways ship a quarter of a second's records at a time:
// half intents, half outcomes, under 100 grants. It tells the processor time of a record.
func BenchmarkIngest(b *testing.B) {
	const gateways, records, grants = 10, 500, 100
	w := newWorld(b)
	i := w.join("1")
	var under []access.Request
	for range grants {
		under = append(under, w.granted())
	}
	var spools [gateways]*spool
	for n := range spools {
		spools[n] = newSpool(b)
	}
	var spent time.Duration
	at := epoch
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		at = at.Add(time.Second / 4)
		var asks [gateways]*feed.IngestRequest
		for n, s := range spools {
			var bodies []any
			for k := range records / 2 {
				_, intent := s.intent(under[k%grants])
				intent.Action = s.minter.NewActionID(at).String()
				intent.Principal, intent.Deadline = refunder, audit.At(at)
				intent.Ask = audit.Ask{Method: "GET", Authority: "reports.acme.example", Path: audit.SHA256([]byte(s.id))}
				intent.Attributes = map[string]audit.Attr{"path": {Value: fmt.Sprintf("/daily/%d", k)}}
				bodies = append(bodies, intent, audit.Outcome{Action: intent.Action, Result: audit.ResultSent, Status: 200, Bytes: 512})
			}
			s.ahead = at.Sub(epoch)
			asks[n] = s.segment(bodies...)
		}
		b.StartTimer()
		before := processorTime(b)
		var all sync.WaitGroup
		for _, ask := range asks {
			all.Go(func() {
				if out, err := w.Source().Ingest(b.Context(), i, ask); err != nil || !out.GetAccepted() {
					b.Errorf("%v, %v", out, err)
				}
			})
		}
		all.Wait()
		spent += processorTime(b) - before
	}
	b.ReportMetric(float64(spent.Nanoseconds())/1e3/float64(b.N*gateways*records), "cpu-µs/record")
}

// processorTime returns what this process has used, in user and in system mode.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
