package attack

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/env"
)

// TestTokenIsOnNoDisk: a token that counted, one that was refused, and their proofs are
// on the record by id and reason, and by text nowhere.
func TestTokenIsOnNoDisk(t *testing.T) {
	w := theWorld(t)
	p := w.program(t)
	good := p.good()
	if got := p.send(good); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.text)
	}
	if got := p.send(p.request("GET", "DPoP "+p.token, good.Header["Dpop"]...)); got.status != 401 {
		t.Fatalf("a proof again: %d %s", got.status, got.text)
	}
	svid, err := w.CA.SVID(spiffeid.RequireFromString(env.ReporterID), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey}
	reporter, err := w.CallerShowing(w.gw, cert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reporter.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+env.BoardHost+boardPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := reporter.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	denial := resp.Header.Get("Mayfly-Denial")
	if resp.StatusCode != 401 || denial == "" {
		t.Fatalf("a token without its key: %s, denial %q; want a record of it", resp.Status, denial)
	}
	if err := w.gw.Shipped(t.Context()); err != nil {
		t.Fatal(err)
	}
	workload, err := w.WorkloadAPIClient(t.Context(), "reporter")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the denial is on the record", func() error {
		// It was refused before anybody knew what it was about: nothing is to be asked for.
		_, err := workload.FromDenial(t.Context(), denial)
		if err != nil && strings.Contains(err.Error(), "of board") {
			return nil
		}
		return fmt.Errorf("asked about it: %w", err)
	})
	signature := func(token string) string { return token[strings.LastIndex(token, ".")+1:] }
	payload := func(token string) string { return strings.Split(token, ".")[1] }
	w.onNoDisk(t, map[string]string{
		"the token's signature": signature(p.token), "what the token says": payload(p.token),
		"the proof's signature": signature(good.Header.Get("Dpop")),
	})
}
