package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/spool"
	"github.com/mayflyproxy/mayfly/trace"
)

// controlSocket is for operators on the machine: 0600, in a folder that only we enter.
const controlSocket = "control.sock"

// statusView is what status and the health port show.
type statusView struct {
	Instance  string       `json:"instance"`
	Ready     bool         `json:"ready"`
	Revision  int64        `json:"revision"`
	Epoch     int64        `json:"epoch"`
	Apps      int          `json:"apps"`
	Grants    int          `json:"grants"`
	Observed  []string     `json:"observed,omitempty"` // apps on which nobody is denied
	HeardAgo  string       `json:"heard_ago"`
	Clock     string       `json:"clock"`
	Record    string       `json:"record"`     // trusted, or why the newest answer of mayflyd does not count
	Entries   int64        `json:"checkpoint"` // of the record, in the newest checkpoint that is kept
	Unshipped uint64       `json:"unshipped_records"`
	Traces    *trace.Stats `json:"traces,omitempty"` // nil: off
}

func statusOf(instance string, t *proxy.Table, s *spool.Spool) statusView {
	st := t.Status()
	v := statusView{
		Instance: instance, Ready: t.Ready() == nil && s != nil, Revision: st.At.Revision, Epoch: st.At.Epoch,
		Apps: st.Apps, Grants: st.Grants, Observed: t.Observed(), HeardAgo: "never", Clock: "trusted", Record: "trusted", Entries: st.Record,
	}
	if st.Heard {
		v.HeardAgo = st.Age.Round(time.Millisecond).String()
	}
	if st.Clock != nil {
		v.Clock = st.Clock.Error()
	}
	if st.Doubt != nil {
		v.Record = st.Doubt.Error()
	}
	if s != nil {
		v.Unshipped = s.Pending()
	}
	return v
}

func (s *sidecar) status(w http.ResponseWriter, _ *http.Request) {
	v := statusOf(s.instance.String(), s.table, s.spool.Load())
	if s.traces != nil {
		stats := s.traces.Stats()
		v.Traces = &stats
	}
	w.Header().Set("Content-Type", "application/json")
	if !v.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(v)
}

// believedFor is how long after a Ping that was answered mayflyd counts as heard and
// believed: there is one each second.
const believedFor = 3 * time.Second

// controlHandler serves the control socket.
func (s *sidecar) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /explain", s.explain)
	mux.HandleFunc("POST /reset-clock", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.table.ResetClock(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "the clock is reset: everything is denied as stale until mayflyd is heard\n")
	})
	mux.HandleFunc("POST /reset-checkpoint", func(w http.ResponseWriter, r *http.Request) {
		st := s.table.Status()
		if believed := st.Heard && st.Age < believedFor && st.Doubt == nil; believed && r.FormValue("anyway") == "" {
			http.Error(w, "mayflyd is heard and believed, and the kept checkpoint stays: --anyway lets it go all the same", http.StatusConflict)
			return
		}
		if err := s.table.ResetCheckpoint(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "the kept checkpoint is let go: the next one that the record's key signed is believed\n")
	})
	return mux
}

// healthHandler serves the loopback port: nothing can be changed there.
func (s *sidecar) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.status)
	mux.Handle("GET /metrics", s.measured().Handler())
	return mux
}

// askRunning talks to the sidecar that runs with the same configuration.
func askRunning(ctx context.Context, o options, method, path string, out io.Writer) error {
	c, err := loadConfig(o.config, o.dev)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(c.RunDir, controlSocket))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://sidecar"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no sidecar runs with run_dir %s: %w", c.RunDir, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusConflict {
		text, _ := io.ReadAll(resp.Body)
		return errors.New(strings.TrimSpace(string(text)))
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the sidecar answered %s", resp.Status)
	}
	return nil
}

// listenControl opens the control socket in place of one that a dead process left.
func listenControl(runDir string) (net.Listener, error) {
	path := filepath.Join(runDir, controlSocket)
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another sidecar runs in %s", runDir)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}
