package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/trace"
)

// jaegerTrace is what Jaeger's query API says of one trace.
type jaegerTrace struct {
	TraceID string `json:"traceID"`
	Spans   []struct {
		OperationName string `json:"operationName"`
		References    []struct {
			RefType string `json:"refType"`
			TraceID string `json:"traceID"`
		} `json:"references"`
		Tags []struct {
			Key   string `json:"key"`
			Value any    `json:"value"`
		} `json:"tags"`
	} `json:"spans"`
}

// TestJaegerShowsTheActionOfAGrant runs the Jaeger of examples/traces, if make jaeger
// has built it: that takes minutes and is for releases, so even where everything is
// required it may be missing.
func TestJaegerShowsTheActionOfAGrant(t *testing.T) {
	needProduct(t)
	binary := env.Tool("bin", "jaeger")
	if _, err := os.Stat(binary); err != nil {
		t.Skip("SKIP: no Jaeger: make jaeger, for a release")
	}
	otlp, query := startJaeger(t, binary)
	lines := fmt.Sprintf("traces: {endpoint: %q, insecure: true}", "http://"+otlp)
	p, err := startWith(env.Config{ControlLines: []string{lines}, GatewayLines: []string{lines}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	reporter := p.as(t, "reporter", p.gw)
	g := p.mayRead(t, "/daily", time.Minute)
	passes(t, "a report", func() answer {
		a, _ := reporter.send(t, http.MethodGet, reportsURL("/daily/1"), nil)
		return a
	})
	own := (&traced{product: p, t: t}).requestOf(t, p.reporter, g)
	asked, _ := trace.OfRequest(own)

	// From the grant to its actions, as an operator would search.
	tags := url.QueryEscape(fmt.Sprintf(`{"mayfly.grant.id":%q,"mayfly.result":"sent"}`, g.ID))
	var found []jaegerTrace
	eventually(t, "Jaeger finds the action of the grant", func() error {
		found, err = jaegerGet(t.Context(), query, "/api/traces?service=mayfly-sidecar&operation=mayfly.action&tags="+tags)
		if err == nil && len(found) == 0 {
			err = errNotYet
		}
		return err
	})
	linked := false
	for _, s := range found[0].Spans {
		for _, r := range s.References {
			linked = linked || s.OperationName == "mayfly.action" && r.RefType == "FOLLOWS_FROM" && r.TraceID == asked.String()
		}
	}
	if !linked {
		t.Errorf("no link to the request's trace %s in %+v", asked, found[0])
	}
	// And the request, by the id that mayfly trace prints.
	request, err := jaegerGet(t.Context(), query, "/api/traces/"+asked.String())
	if err != nil || len(request) != 1 {
		t.Fatalf("%+v, %v", request, err)
	}
	var names []string
	for _, s := range request[0].Spans {
		names = append(names, s.OperationName)
	}
	for _, want := range []trace.Name{trace.Request, trace.Offer, trace.Decision, trace.Activation, trace.Feed} {
		if !slices.Contains(names, string(want)) {
			t.Errorf("Jaeger shows %v, without %s", names, want)
		}
	}
}

// startJaeger runs the example's configuration at free ports.
func startJaeger(t *testing.T, binary string) (otlp, query string) {
	t.Helper()
	text, err := os.ReadFile("../../examples/traces/jaeger.yaml")
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for _, port := range []string{"4317", "4318", "16686", "16685", "13133"} {
		at[port] = freeAddress(t).String()
		text = []byte(strings.Replace(string(text), "127.0.0.1:"+port, at[port], 1))
	}
	file := filepath.Join(t.TempDir(), "jaeger.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--config=file:"+file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	log := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was told to end
		if t.Failed() {
			t.Log(log.String())
		}
	})
	eventually(t, "Jaeger is ready", func() error {
		resp, err := http.Get("http://" + at["13133"] + "/status")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	})
	return at["4317"], at["16686"]
}

func jaegerGet(ctx context.Context, host, path string) ([]jaegerTrace, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var out struct {
		Data []jaegerTrace `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s, %w", path, resp.Status, err)
	}
	return out.Data, nil
}
