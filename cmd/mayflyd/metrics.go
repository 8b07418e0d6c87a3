package main

import (
	"context"
	"errors"
	"math"
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
	d.metrics.Gauge("mayfly_policy_unreadable_seconds", "How long the policy repository cannot be read; 0 if it can.", d.ofPolicy(func(v policySeen) float64 { return v.unreadable.Seconds() }))
	d.metrics.Gauge("mayfly_policy_refused", "1 while the tip of the policy branch may not enter into force.", d.ofPolicy(func(v policySeen) float64 { return oneIf(v.refused) }))
	d.metrics.Gauge("mayfly_policy_settling", "Policy commits that wait because somebody gains by them.", d.ofPolicy(func(v policySeen) float64 { return float64(v.settling) }))
	d.metrics.Gauge("mayfly_policy_held", "1 while policy is held.", d.ofPolicy(func(v policySeen) float64 { return oneIf(v.held) }))
	d.metrics.Gauge("mayfly_observed_apps", "Apps in observe mode: nobody is denied there.", d.observed)
	d.metrics.Traces(func() metrics.Exports {
		s := d.traces.Stats()
		return metrics.Exports{Exported: s.Exported, Dropped: s.Dropped, Lost: s.Lost}
	})
}

// policySeen is what is measured of policy.
type policySeen struct {
	unreadable time.Duration
	refused    bool
	settling   int
	held       bool
}

// ofPolicy measures something of policy: what nobody knows is no number, and not 0.
func (d *daemon) ofPolicy(what func(policySeen) float64) func() float64 {
	return func() float64 {
		v, err := d.policySeen()
		if err != nil {
			return math.NaN()
		}
		return what(v)
	}
}

func (d *daemon) policySeen() (policySeen, error) {
	if d.service == nil {
		return policySeen{}, errors.New("mayflyd starts")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, err := d.service.PolicyAlarms(ctx)
	if err != nil {
		return policySeen{}, err
	}
	out := policySeen{refused: v.Seen.Refused.Reason != "", settling: len(v.Settling), held: v.Hold != nil}
	if !v.Seen.Failed.IsZero() {
		out.unreadable = v.Now.Sub(v.Seen.Failed)
	}
	return out, nil
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
