package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// revokeBuckets, in seconds, are narrow around the bounds that Mayfly promises: a
// running gateway answers within a second, one that does not hear is closed at the
// end of its lease.
var revokeBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 15, 60, 300}

// Revocations tells how long early ends of grants take to hold everywhere. Each
// instance that was awaited counts once for each end.
type Revocations struct {
	acknowledged prometheus.Histogram
	lastAllowed  prometheus.Histogram
	closed       prometheus.Counter
}

// Revocations returns the metrics of early ends, and registers them.
func (r *Registry) Revocations() *Revocations {
	if r == nil {
		return nil
	}
	m := &Revocations{
		acknowledged: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mayfly_revoke_acknowledged_seconds", Buckets: revokeBuckets,
			Help: "From the revoke's transaction to the acknowledgement of each instance, by the control plane's clock.",
		}),
		lastAllowed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mayfly_revoke_last_allowed_seconds", Buckets: revokeBuckets,
			Help: "From the revoke's transaction to the last request that an instance allowed under the grant; 0 if there was none after it.",
		}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mayfly_revoke_closed_total", Help: "Instances that did not acknowledge an end before their lease ran out.",
		}),
	}
	r.all.MustRegister(m.acknowledged, m.lastAllowed, m.closed)
	return m
}

// Acknowledged notes that one instance answered after d, and that the last request
// which it allowed came last after the revoke; below 0 counts as 0.
func (m *Revocations) Acknowledged(d, last time.Duration) {
	if m == nil {
		return
	}
	m.acknowledged.Observe(max(d, 0).Seconds())
	m.lastAllowed.Observe(max(last, 0).Seconds())
}

// Closed notes that one instance did not answer before its lease ran out.
func (m *Revocations) Closed() {
	if m == nil {
		return
	}
	m.closed.Inc()
}
