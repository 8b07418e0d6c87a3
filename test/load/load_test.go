package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// shown runs a scenario as the command line does, and returns the object that it
// prints last.
func shown(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var out, log bytes.Buffer
	if err := run(t.Context(), args, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	t.Log(log.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var shown map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &shown); err != nil {
		t.Fatalf("the last line is no JSON object: %v", err)
	}
	return shown
}

// positive fails for each field that is not a number above zero.
func positive(t *testing.T, shown map[string]any, fields ...string) {
	t.Helper()
	for _, f := range fields {
		if n, ok := shown[f].(float64); !ok || n <= 0 {
			t.Errorf("%s is %v", f, shown[f])
		}
	}
}

// drawn fails unless path holds an SVG file with as many points as there were changes.
func drawn(t *testing.T, path string, points int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the chart is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			got++
		}
	}
	if got < points {
		t.Errorf("the chart has %d points, want at least %d", got, points)
	}
}

// The scenarios run at a tiny size, so that they do not rot; no bound is asserted.
func TestFeedScenario(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "feed.svg")
	got := shown(t, "-scenario", "feed", "-nodes", "5", "-stalled", "1", "-changes", "5", "-rate", "20",
		"-synced", "300", "-stored", "3000", "-plot", plot, "-report")
	positive(t, got, "p50_ms", "p99_ms", "stalled_p50_ms", "stalled_p99_ms", "first_sync_ms", "bytes_per_grant")
	drawn(t, plot, 10)
}

func TestRevokeScenario(t *testing.T) {
	found, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: env.Tool("envoy", "envoy")})
	if err != nil {
		need.Missing(t, err)
	}
	t.Logf("Envoy is %s", found.Path)
	plot := filepath.Join(t.TempDir(), "revoke.svg")
	got := shown(t, "-scenario", "revoke", "-nodes", "5", "-probed", "2", "-grants", "8", "-changes", "5", "-rate", "5",
		"-records", "400", "-plot", plot, "-report")
	positive(t, got, "p50_ms", "p99_ms", "max_ms", "streams_cut_p99_ms", "envoy_probes", "records_per_second")
	if got["receipts_missing"] != 0.0 {
		t.Errorf("%v receipts are missing", got["receipts_missing"])
	}
	drawn(t, plot, 5)
}

func TestMissedBoundsAreAnError(t *testing.T) {
	bad := &feedResult{P50MS: feedP50MS + 1, PerGrant: bytesPerGrant + 1}
	if got := bad.missed(); len(got) != 2 || !strings.HasPrefix(got[0], "p50_ms") || !strings.HasPrefix(got[1], "bytes_per_grant") {
		t.Errorf("missed: %q", got)
	}
	if got := (&feedResult{P50MS: feedP50MS}).missed(); len(got) != 0 {
		t.Errorf("missed though held: %q", got)
	}
	if got := (&revokeResult{Missing: 1, Records: 100, Wanted: 200}).missed(); len(got) != 2 {
		t.Errorf("missed: %q", got)
	}
}

func TestUnknownScenario(t *testing.T) {
	err := run(context.Background(), []string{"-scenario", "nothing"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "feed") {
		t.Errorf("an unknown scenario: %v", err)
	}
}

func TestLatencies(t *testing.T) {
	l := newLatencies()
	for i := range 100 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	got := []float64{l.ms(50), l.ms(99), l.maxMS()}
	for i, want := range []float64{50, 99, 100} {
		if got[i] < want*0.999 || got[i] > want*1.001 {
			t.Errorf("p50, p99, max are %v", slices.Clone(got))
		}
	}
}
