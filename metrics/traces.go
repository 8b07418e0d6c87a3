package metrics

// Exports are what became of the spans of one process so far.
type Exports struct{ Exported, Dropped, Lost uint64 }

// Traces tells of the way of spans to the collector.
func (r *Registry) Traces(stats func() Exports) {
	r.Counter("mayfly_trace_spans_exported_total", "Spans that the collector took.", func() float64 { return float64(stats().Exported) })
	r.Counter("mayfly_trace_spans_dropped_total", "Spans that found the queue full.", func() float64 { return float64(stats().Dropped) })
	r.Counter("mayfly_trace_spans_lost_total", "Spans that were sent, and refused or not answered for.", func() float64 { return float64(stats().Lost) })
}
