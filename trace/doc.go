// Package trace shows what Mayfly does to whoever runs traces: it turns facts into
// OpenTelemetry spans, joins them by ids that anybody can work out from ours, and
// hands them to an OTLP collector.
//
// It owns the names of the spans, the list of attributes that a span may have (a
// Facts can say nothing else), how trace ids come from request and action ids, what
// of a caller's W3C Trace Context is believed, which traces are exported, and the
// queue in front of the exporter. It does not own the record: a span may be lost,
// dropped or never made, and nothing is decided, allowed or proven by one.
//
// A Span tells of what has already happened: it is made when it is over, and after
// the commit where there is one, so none says that something happened which was
// rolled back. Emit never waits: what finds the queue full is dropped and counted.
//
// A nil *Tracer and a nil *Action are off: every method may be called on them, and
// costs nothing.
package trace
