package test

import (
	"maps"
	"slices"
	"testing"

	"github.com/mayflyproxy/mayfly/trace"
)

// TestDocsNameEverySpan holds docs/traces.md to the code: what an operator reads
// there is what can leave, and all of it.
func TestDocsNameEverySpan(t *testing.T) {
	p := readPage(t, "docs/traces.md")
	sameNames(t, "docs/traces.md, attributes", column(p.table(t, "attributes"), 0), trace.Keys())
	spans := append(column(p.table(t, "spans: request"), 0), column(p.table(t, "spans: action"), 0)...)
	sameNames(t, "docs/traces.md, spans", spans, slices.Sorted(maps.Values(consts(parsed(t, "trace"), "Name"))))
	for _, key := range trace.ResourceKeys() {
		if !slices.Contains(names(p.prose()), key) {
			t.Errorf("docs/traces.md does not name %s", key)
		}
	}
}
