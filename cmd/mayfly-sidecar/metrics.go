package main

import (
	"math"

	"github.com/mayflyproxy/mayfly/metrics"
)

// measured makes what /metrics on the health door tells.
func (s *sidecar) measured() *metrics.Registry {
	r := metrics.New(version)
	r.Gauge("mayfly_gateway_ready", "1: the gateway decides. 0: it denies everything.", func() float64 {
		return truth(s.table.Ready() == nil && s.spool.Load() != nil)
	})
	r.Gauge("mayfly_gateway_lease_age_seconds", "Since the newest heartbeat whose answer is applied was sent; +Inf: none yet. An app is denied as stale once this is over its stale_after.", func() float64 {
		if st := s.table.Status(); st.Heard {
			return st.Age.Seconds()
		}
		return math.Inf(1)
	})
	r.Gauge("mayfly_gateway_clock_trusted", "0: everything is denied as clock until reset-clock.", func() float64 { return truth(s.table.Status().Clock == nil) })
	r.Gauge("mayfly_gateway_record_trusted", "0: what mayflyd shows of the record does not continue what this gateway has seen, and its answers do not count.", func() float64 { return truth(s.table.Status().Doubt == nil) })
	r.Gauge("mayfly_gateway_checkpoint_entries", "Entries of the record in the newest checkpoint that the gateway keeps.", func() float64 { return float64(s.table.Status().Record) })
	r.Gauge("mayfly_gateway_revision", "The revision of policy and grants that is applied.", func() float64 { return float64(s.table.Status().At.Revision) })
	r.Gauge("mayfly_gateway_apps", "Apps that the gateway fronts.", func() float64 { return float64(s.table.Status().Apps) })
	r.Gauge("mayfly_gateway_grants", "Live grants that the gateway holds.", func() float64 { return float64(s.table.Status().Grants) })
	r.Gauge("mayfly_observed_apps", "Apps in observe mode at the gateway: nobody is denied there.", func() float64 { return float64(len(s.table.Observed())) })
	r.Counter("mayfly_gateway_unguarded_streams_total", "Requests that went on without the guard that was to cut them, as Envoy counts them.", func() float64 { return float64(s.halfway.Total()) })
	r.Gauge("mayfly_spool_unshipped_records", "Records that mayflyd has not taken yet.", func() float64 {
		if sp := s.spool.Load(); sp != nil {
			return float64(sp.Pending())
		}
		return 0
	})
	r.Traces(func() metrics.Exports {
		st := s.traces.Stats()
		return metrics.Exports{Exported: st.Exported, Dropped: st.Dropped, Lost: st.Lost}
	})
	return r
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
