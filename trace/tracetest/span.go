package tracetest

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/trace"
)

// Span is one span as a test reads it. Ids are in hexadecimal digits.
type Span struct {
	Name, Trace, ID, Parent string
	State                   string
	Links                   []string // traces
	Begin, End              time.Time
	Failed                  bool
	Service                 string
	Attributes              map[string]string
}

func spansOf(all []*tracepb.ResourceSpans) []Span {
	var out []Span
	for _, rs := range all {
		service := texts(rs.GetResource().GetAttributes())["service.name"]
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				one := Span{
					Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					State: s.GetTraceState(), Begin: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
					Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, Service: service, Attributes: texts(s.GetAttributes()),
				}
				for _, l := range s.GetLinks() {
					one.Links = append(one.Links, hex.EncodeToString(l.GetTraceId()))
				}
				out = append(out, one)
			}
		}
	}
	return out
}

func texts(list []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		default:
			out[a.GetKey()] = a.GetValue().String()
		}
	}
	return out
}

// Spans returns what is kept so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

// Wait returns the spans as soon as they are enough.
func (r *Receiver) Wait(enough func([]Span) bool) []Span {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		spans, changed := slices.Clone(r.kept), r.changed
		r.mu.Unlock()
		if enough(spans) {
			return spans
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("these spans came, and not those that were awaited: %s", Lines(spans))
		}
	}
}

// Lines writes spans for people.
func Lines(spans []Span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString("\n  " + s.Trace + " " + s.ID + " < " + s.Parent + " " + s.Service + " " + s.Name)
		for _, k := range trace.Keys() {
			if v := s.Attributes[k]; v != "" {
				b.WriteString(" " + k + "=" + v)
			}
		}
	}
	return b.String()
}

// Named returns those of one name.
func Named(spans []Span, name trace.Name) []Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return s.Name != string(name) })
}

// Of returns those whose attribute has that value.
func Of(spans []Span, key, value string) []Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return s.Attributes[key] != value })
}

// Allowed holds everything that has come to the allow-list: no attribute that trace
// does not name, of spans, resources, scopes, links or events; no event and no text of
// a status at all; none of the canaries anywhere.
func (r *Receiver) Allowed(t testing.TB, canaries ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range r.all {
		keysWithin(t, "resource", rs.GetResource().GetAttributes(), trace.ResourceKeys())
		for _, ss := range rs.GetScopeSpans() {
			keysWithin(t, "scope", ss.GetScope().GetAttributes(), nil)
			for _, s := range ss.GetSpans() {
				keysWithin(t, s.GetName(), s.GetAttributes(), trace.Keys())
				for _, l := range s.GetLinks() {
					keysWithin(t, "link of "+s.GetName(), l.GetAttributes(), nil)
				}
				if len(s.GetEvents()) > 0 || s.GetStatus().GetMessage() != "" {
					t.Errorf("%s has events or a text of its status: %v", s.GetName(), s)
				}
				if p := texts(s.GetAttributes())["enduser.pseudo.id"]; p != "" && !strings.HasPrefix(p, "p_") {
					t.Errorf("%s: %q is no pseudonym", s.GetName(), p)
				}
			}
		}
		text := prototext.Format(withoutNumbers(rs))
		for _, c := range canaries {
			if c != "" && strings.Contains(text, c) {
				t.Errorf("%q left in a span: %s", c, text)
			}
		}
	}
}

// withoutNumbers returns rs without its times and ids, in which anything can stand by
// chance.
func withoutNumbers(rs *tracepb.ResourceSpans) *tracepb.ResourceSpans {
	out, _ := proto.Clone(rs).(*tracepb.ResourceSpans)
	for _, ss := range out.GetScopeSpans() {
		for _, s := range ss.GetSpans() {
			s.StartTimeUnixNano, s.EndTimeUnixNano, s.TraceId, s.SpanId, s.ParentSpanId = 0, 0, nil, nil, nil
			for _, l := range s.GetLinks() {
				l.TraceId, l.SpanId = nil, nil
			}
		}
	}
	return out
}

func keysWithin(t testing.TB, where string, list []*commonpb.KeyValue, allowed []string) {
	t.Helper()
	for i, a := range list {
		if !slices.Contains(allowed, a.GetKey()) {
			t.Errorf("%s has the attribute %q, which may not leave", where, a.GetKey())
		}
		if slices.ContainsFunc(list[:i], func(b *commonpb.KeyValue) bool { return b.GetKey() == a.GetKey() }) {
			t.Errorf("%s has the attribute %q twice", where, a.GetKey())
		}
	}
}
