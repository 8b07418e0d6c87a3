package main

import "github.com/mayflyproxy/mayfly/metrics"

// measure makes what /metrics on the health door tells.
func (d *daemon) measure() {
	d.metrics = metrics.New(version)
	d.metrics.Gauge("mayfly_gateways_strayed", "Gateways of this process in quarantine: what they hold is not what they were told.", func() float64 {
		if d.service == nil {
			return 0
		}
		return float64(d.service.Strayed())
	})
	d.metrics.Gauge("mayfly_gateways_doubting", "Gateways of this process that do not count what they are shown of the record: it does not continue what they have seen.", func() float64 {
		if d.service == nil {
			return 0
		}
		return float64(d.service.Doubting())
	})
	d.metrics.Gauge("mayfly_observed_apps", "Apps in observe mode: nobody is denied there.", d.observed)
	d.metrics.Traces(func() metrics.Exports {
		s := d.traces.Stats()
		return metrics.Exports{Exported: s.Exported, Dropped: s.Dropped, Lost: s.Lost}
	})
}
