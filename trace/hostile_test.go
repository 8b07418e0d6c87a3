package trace_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/trace"
)

// TestAHostileCollector: whatever it answers, it costs one batch and a short line in
// the log; it is not waited for longer than traces.timeout, and the headers by which
// it knows us go nowhere else.
func TestAHostileCollector(t *testing.T) {
	const secret = "s3cr3t-canary"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		t.Errorf("a redirect was followed, with %q", q.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	endless := func(w http.ResponseWriter, q *http.Request) {
		for line := []byte(strings.Repeat("no "+secret+" ", 4096)); q.Context().Err() == nil; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a refusal without an end": func(w http.ResponseWriter, q *http.Request) { w.WriteHeader(http.StatusBadRequest); endless(w, q) },
		"a yes without an end":     endless,
		"an answer that hangs": func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_ = http.NewResponseController(w).Flush()
			<-q.Context().Done()
		},
		"later, in a year": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "31536000")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"elsewhere": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere.URL, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 64)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				asked <- struct{}{}
				answer(w, q)
			}))
			t.Cleanup(server.Close)
			s := trace.Settings{Endpoint: server.URL, Protocol: trace.ProtocolHTTP, Insecure: true, HeadersFile: filepath.Join(t.TempDir(), "h"), Timeout: time.Second}
			if err := os.WriteFile(s.HeadersFile, []byte("authorization: Bearer "+secret+"\nx-tenant: s3cr3t\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			x := start(t, s)
			x.Emit(span(0))
			<-asked
			began := time.Now()
			x.stop()
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("the end waited %s for it", took)
			}
			if got := x.Stats(); got.Lost != 1 || got.Exported != 0 {
				t.Errorf("%+v", got)
			}
			if log := x.log.String(); len(log) > 2000 || !strings.Contains(log, "lost=1") || strings.Contains(log, "canary") {
				t.Errorf("logged: %.3000s", log)
			}
		})
	}
}
