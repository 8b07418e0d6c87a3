package trace_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/trace"
)

func TestSettingsSayWhatIsWrongWithThem(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	secret := file("headers", "# for the collector\nAuthorization: Bearer s3cr3t-canary\n\nx-scope: acme\n", 0o600)
	for _, c := range []struct {
		name string
		s    trace.Settings
		want string // in the error; "" is fine
	}{
		{"off", trace.Settings{}, ""},
		{"https", trace.Settings{Endpoint: "https://otel.acme.example:4317"}, ""},
		{"all of it", trace.Settings{Endpoint: "https://otel.acme.example/otlp/v1/traces", Protocol: "http", HeadersFile: secret, Sample: 0.1, Timeout: time.Second, Queue: 10}, ""},
		{"plain to loopback", trace.Settings{Endpoint: "http://127.0.0.1:4317", Insecure: true}, ""},
		{"plain to loopback, IPv6", trace.Settings{Endpoint: "http://[::1]:4318", Protocol: "http", Insecure: true}, ""},
		{"plain without saying so", trace.Settings{Endpoint: "http://127.0.0.1:4317"}, "insecure: true"},
		{"plain to elsewhere", trace.Settings{Endpoint: "http://otel.acme.example:4317", Insecure: true}, "loopback"},
		{"plain to a name that may be elsewhere", trace.Settings{Endpoint: "http://localhost:4317", Insecure: true}, "loopback"},
		{"insecure https", trace.Settings{Endpoint: "https://127.0.0.1:4317", Insecure: true}, "this is https"},
		{"keys without an endpoint", trace.Settings{Protocol: "http"}, "traces.endpoint"},
		{"another protocol", trace.Settings{Endpoint: "https://otel.acme.example", Protocol: "zipkin"}, "traces.protocol"},
		{"no URL", trace.Settings{Endpoint: "otel.acme.example:4317"}, "traces.endpoint"},
		{"a user in the URL", trace.Settings{Endpoint: "https://u:p@otel.acme.example"}, "no user"},
		{"a path with grpc", trace.Settings{Endpoint: "https://otel.acme.example/x"}, "no path"},
		{"share above 1", trace.Settings{Endpoint: "https://otel.acme.example", Sample: 1.5}, "traces.sample"},
		{"share below 0", trace.Settings{Endpoint: "https://otel.acme.example", Sample: -1}, "traces.sample"},
		{"timeout", trace.Settings{Endpoint: "https://otel.acme.example", Timeout: time.Hour}, "traces.timeout"},
		{"queue", trace.Settings{Endpoint: "https://otel.acme.example", Queue: 1 << 30}, "traces.queue"},
		{"no roots", trace.Settings{Endpoint: "https://otel.acme.example", CA: secret}, "holds no certificate"},
		{"no file", trace.Settings{Endpoint: "https://otel.acme.example", HeadersFile: filepath.Join(dir, "none")}, "traces.headers_file"},
		{"open to others", trace.Settings{Endpoint: "https://otel.acme.example", HeadersFile: file("open", "a: b", 0o644)}, "0600"},
		{"no headers", trace.Settings{Endpoint: "https://otel.acme.example", HeadersFile: file("bad", "s3cr3t-canary", 0o600)}, "want lines"},
		{"a header twice", trace.Settings{Endpoint: "https://otel.acme.example", HeadersFile: file("twice", "a: b\nA: s3cr3t-canary", 0o600)}, "each name once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.s.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Error("the error tells the secret")
			}
			made, err := trace.New(trace.Config{Settings: c.s, Service: "mayflyd"})
			if (err == nil) != (c.want == "") || (made == nil) != (err != nil || c.s.Endpoint == "") {
				t.Errorf("New: %v, %v", made, err)
			}
			if text := fmt.Sprintf("%v %+v %#v", made, made, made); strings.Contains(text, "s3cr3t") {
				t.Error("a Tracer prints the secret")
			}
		})
	}
}
