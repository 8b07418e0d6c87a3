package main

import (
	"os"
	"strings"
	"testing"
)

// TestTracesAsConfigured: the sidecar's test has every mistake.
func TestTracesAsConfigured(t *testing.T) {
	example, err := os.ReadFile("../../examples/traces/traces-jaeger.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[string]string{
		string(example): "",
		"traces: {endpoint: \"http://otel.acme.example:4317\", insecure: true}\n": "plain http is for a loopback address",
		"traces: {protocol: http}\n": "traces.endpoint",
	} {
		_, err := load(t, provider+lines, false)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: want an error with %q, got %v", lines, want, err)
		}
	}
}
