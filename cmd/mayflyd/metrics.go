package main

import "github.com/mayflyproxy/mayfly/metrics"

// measure makes what /metrics on the health door tells.
func (d *daemon) measure() {
	d.metrics = metrics.New(version)
	d.metrics.Traces(func() metrics.Exports {
		s := d.traces.Stats()
		return metrics.Exports{Exported: s.Exported, Dropped: s.Dropped, Lost: s.Lost}
	})
}
