package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies are durations from a microsecond to ten minutes, to three digits.
type latencies struct{ h *hdrhistogram.Histogram }

func newLatencies() latencies {
	return latencies{hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)}
}

// add notes one; what is out of range counts as the nearest that is in it.
func (l latencies) add(d time.Duration) {
	_ = l.h.RecordValue(min(max(d.Microseconds(), 1), l.h.HighestTrackableValue()))
}

// ms returns a percentile in milliseconds.
func (l latencies) ms(percentile float64) float64 { return milli(l.h.ValueAtQuantile(percentile)) }

func (l latencies) maxMS() float64 { return milli(l.h.Max()) }

func (l latencies) count() int { return int(l.h.TotalCount()) }

func milli(us int64) float64 { return float64(us/10) / 100 }
