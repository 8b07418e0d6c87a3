package envoy

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// told is an Envoy's admin that answers with what a test lays there.
func told(t *testing.T) (h *HalfClosed, say func(status int, text string), alarms *[]string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, SocketAdmin))
	if err != nil {
		t.Fatal(err)
	}
	status, text := http.StatusOK, ""
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats" || r.URL.Query().Get("filter") != `\.ext_proc\.server_half_closed$` {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	alarms = &[]string{}
	h = NewHalfClosed(dir, func(text string) { *alarms = append(*alarms, text) }, nil)
	t.Cleanup(h.client.CloseIdleConnections)
	return h, func(s int, answer string) { status, text = s, answer }, alarms
}

func TestP4_ARequestThatGoesOnWithoutItsGuardIsAnAlarm(t *testing.T) {
	h, say, alarms := told(t)
	const services, people = "http.services_wiki.ext_proc.server_half_closed: ", "http.people_wiki.ext_proc.server_half_closed: "
	for i, step := range []struct {
		status int
		text   string
		total  uint64
		alarms int
	}{
		{200, "", 0, 0}, // no app is guarded
		{200, services + "0\n" + people + "0\n", 0, 0},
		{200, services + "0\n" + people + "2\n", 2, 1},
		{200, services + "0\n" + people + "2\n", 2, 1},
		{200, services + "1\n" + people + "2\n", 3, 2},
		{200, services + "1\n", 4, 3}, // another Envoy: it counts from 0
		{200, services + "1\n", 4, 3},
		{403, services + "9\n", 4, 3},
		{200, "Invalid path\n", 4, 3},
		{200, services + "nine\n", 4, 3},
		{200, strings.Repeat(services+"9\n", maxStatsSize/40), 4, 3},
		{200, services + "2\n", 5, 4},
	} {
		say(step.status, step.text)
		h.look(t.Context())
		if h.Total() != step.total || len(*alarms) != step.alarms {
			t.Fatalf("step %d: %d in all, alarms %q", i, h.Total(), *alarms)
		}
	}
	if !strings.Contains((*alarms)[0], "2 requests went on without the guard") {
		t.Errorf("alarm %q", (*alarms)[0])
	}
}

func TestHalfClosedWithoutAnEnvoy(t *testing.T) {
	h := NewHalfClosed(t.TempDir(), func(text string) { t.Error(text) }, nil)
	h.look(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Run(ctx); err != nil || h.Total() != 0 {
		t.Errorf("%d, %v", h.Total(), err)
	}
}
