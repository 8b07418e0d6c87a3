package main

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/metrics"
)

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
	d.metrics.Gauge("mayfly_policy_unreadable_seconds", "How long the policy repository cannot be read; 0 if it can.", func() float64 { return d.policySeen().unreadable.Seconds() })
	d.metrics.Gauge("mayfly_policy_refused", "1 while the tip of the policy branch may not enter into force.", func() float64 { return oneIf(d.policySeen().refused) })
	d.metrics.Gauge("mayfly_policy_settling", "Policy commits that wait because somebody gains by them.", func() float64 { return float64(d.policySeen().settling) })
	d.metrics.Gauge("mayfly_policy_held", "1 while policy is held.", func() float64 { return oneIf(d.policySeen().held) })
	d.metrics.Gauge("mayfly_observed_apps", "Apps in observe mode: nobody is denied there.", d.observed)
	d.metrics.Traces(func() metrics.Exports {
		s := d.traces.Stats()
		return metrics.Exports{Exported: s.Exported, Dropped: s.Dropped, Lost: s.Lost}
	})
}

// policySeen is what is measured of policy. The zero value is that all is well, or that
// nothing is known.
type policySeen struct {
	unreadable time.Duration
	refused    bool
	settling   int
	held       bool
}

func (d *daemon) policySeen() policySeen {
	if d.service == nil {
		return policySeen{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, err := d.service.PolicyAlarms(ctx)
	if err != nil {
		return policySeen{}
	}
	out := policySeen{refused: v.Seen.Refused.Reason != "", settling: len(v.Settling), held: v.Hold != nil}
	if !v.Seen.Failed.IsZero() {
		out.unreadable = v.Now.Sub(v.Seen.Failed)
	}
	return out
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
