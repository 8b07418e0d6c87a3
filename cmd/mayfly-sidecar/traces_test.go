package main

import (
	"os"
	"strings"
	"testing"
)

// TestCheckOfTraces: what --check says of the key traces. mayflyd's has the same.
func TestCheckOfTraces(t *testing.T) {
	example, err := os.ReadFile("../../examples/traces/traces-jaeger.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[string]string{
		"":              "",
		string(example): "",
		"traces: {endpoint: \"https://otel.acme.example:4317\", sample: 0.5, timeout: 3s, queue: 100}\n": "",
		"traces: {endpoint: \"http://otel.acme.example:4317\", insecure: true}\n":                        "plain http is for a loopback address",
		"traces: {endpoint: \"http://127.0.0.1:4317\"}\n":                                                "insecure: true",
		"traces: {endpoint: \"https://otel.acme.example\", headers_file: nowhere}\n":                     "traces.headers_file",
		"traces: {endpoint: \"https://otel.acme.example\", headers_file: wiki.crt}\n":                    "want lines",
		"traces: {endpoint: \"https://otel.acme.example\", ca: wiki.key}\n":                              "holds no certificate",
		"traces: {endpoint: \"https://otel.acme.example\", sample: 2}\n":                                 "traces.sample",
		"traces: {sample: 0.5}\n": "traces.endpoint",
		"traces: {endpoint: \"https://otel.acme.example\", headers: {a: b}}\n": "headers",
	} {
		err := check(t, false, lines)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: want an error with %q, got %v", lines, want, err)
		}
	}
}
