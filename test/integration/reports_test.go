package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

func TestReportsAreReadOnlyBelowTheGrantedFolder(t *testing.T) {
	p := theProduct(t)
	reporter := p.as(t, "reporter", p.gw)
	p.mayRead(t, "/daily/eu", 10*time.Minute)
	a := passes(t, "a report", func() answer { return reporter.get(t, reportsURL("/daily/eu/1?full=1")) })
	if a.text != "report /daily/eu/1\n" || a.header.Get("X-Mayfly-Action") != "" {
		t.Errorf("%v %s", a.header, a.text)
	}
	before := len(p.Reports.Arrivals())
	for _, c := range []struct{ name, method, path, reason string }{
		{"beside the folder", "GET", "/daily/us", "constraint"},
		{"a name that begins alike", "GET", "/daily/europe", "constraint"},
		{"above it", "GET", "/daily", "constraint"},
		{"to write", "POST", "/daily/eu/1", "scope"},
		{"to delete", "DELETE", "/daily/eu/1", "scope"},
	} {
		a, _ := reporter.send(t, c.method, reportsURL(c.path), nil)
		if a.status != http.StatusForbidden || a.reason() != c.reason || !strings.HasPrefix(a.denial(), "den_") {
			t.Errorf("%s: %d %s, want %s", c.name, a.status, a.text, c.reason)
		}
	}
	for _, path := range []string{"/daily/eu/../us", "/daily/eu/%2e%2e/us", "/daily/eu/..%2fus", "/daily/eu/.%2E/us"} {
		a, _ := reporter.send(t, http.MethodGet, reportsURL(path), nil)
		if a.status < 400 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if n := len(p.Reports.Arrivals()); n != before {
		t.Errorf("%d refused requests reached the app", n-before)
	}
}

// P3: a stream to a direct app is cut at not_after, not when it likes to end.
func TestP3_AStreamIsCutAtTheGrantsEnd(t *testing.T) {
	p := theProduct(t)
	reporter := p.as(t, "reporter", p.gw)
	g := p.mayRead(t, "/daily", 3*time.Second)
	end := endOf(t, g)
	passes(t, "a report", func() answer { return reporter.get(t, reportsURL("/daily/1")) })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, reportsURL("/daily/stream"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := reporter.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var last time.Time
	lines := 0
	for b := make([]byte, 64); err == nil; {
		var n int
		if n, err = resp.Body.Read(b); n > 0 {
			last, lines = time.Now(), lines+1
		}
	}
	if resp.StatusCode != http.StatusOK || lines < 5 {
		t.Fatalf("%s, %d pieces, then %v", resp.Status, lines, err)
	}
	if errors.Is(err, io.EOF) {
		t.Error("the cut looks like the whole answer")
	}
	t.Logf("the last byte came %s after not_after", last.Sub(end).Round(time.Millisecond))
	if last.Sub(end) > env.Late {
		t.Errorf("the last byte came %s after the end", last.Sub(end))
	}
	if end.Sub(last) > time.Second {
		t.Errorf("it was cut %s before the end", end.Sub(last))
	}
	if a := reporter.get(t, reportsURL("/daily/1")); a.reason() != "ended" {
		t.Errorf("after it: %d %s", a.status, a.text)
	}
}

// commit changes policy for the rest of the test.
func (p *product) commit(t testing.TB, message string, files map[string]string) {
	t.Helper()
	if _, err := p.Policy.Commit(message, files); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		back := map[string]string{}
		for name := range files {
			back[name] = p.Files()[name]
		}
		hash, err := p.Policy.Commit("Put back: "+message, back)
		if err != nil {
			t.Error(err)
			return
		}
		p.inForce(t, hash)
	})
}

// inForce waits until a commit is. It may run in a cleanup.
func (p *product) inForce(t testing.TB, commit string) {
	t.Helper()
	eventually(t, "the policy in force", func() error {
		who, err := p.bob.Whoami(context.WithoutCancel(t.Context()))
		if err == nil && who.Policy.Commit != commit {
			err = fmt.Errorf("%s is, want %s", who.Policy.Commit, commit)
		}
		return err
	})
}

// A commit that adds an app is routable without a restart of anything.
func TestANewAppIsServedWithoutARestart(t *testing.T) {
	p := theProduct(t)
	envoy, err := p.gw.Envoy()
	if err != nil {
		t.Fatal(err)
	}
	reporter := p.as(t, "reporter", p.gw)
	const address = "https://ledger.acme.example/pages/1"
	if a, err := reporter.do(t.Context(), http.MethodGet, address, nil); err == nil && a.status == http.StatusOK {
		t.Fatal("it is there already")
	}
	ledger, err := p.Recorder("ledger")
	if err != nil {
		t.Fatal(err)
	}
	files := p.Files()
	began := time.Now()
	p.commit(t, "Add the ledger", map[string]string{
		"mayfly.yaml":                   strings.Replace(files["mayfly.yaml"], "[stripe, reports, wiki]", "[stripe, reports, wiki, ledger]", 1),
		"apps/ledger.yaml":              strings.NewReplacer("app: reports", "app: ledger", "reports.acme", "ledger.acme", p.Reports.URL(), ledger.URL()).Replace(files["apps/reports.yaml"]),
		"entitlements/ledger/read.yaml": strings.NewReplacer("reports/read", "ledger/read", "app: reports", "app: ledger", "/(daily|monthly)", "/pages").Replace(files["entitlements/reports/read.yaml"]),
	})
	var a answer
	eventually(t, "the new app", func() (err error) {
		if a, err = p.as(t, "reporter", p.gw).do(t.Context(), http.MethodGet, address, nil); err == nil && a.reason() != "no_grant" {
			err = fmt.Errorf("%d %s", a.status, a.text)
		}
		return err
	})
	t.Logf("routable %s after the commit", time.Since(began).Round(time.Millisecond))
	p.grant(t, p.reporter, api.Ask{Entitlement: "ledger/read", Params: map[string]string{"folder": "/pages"}, Duration: "10m0s"})
	reporter = p.as(t, "reporter", p.gw)
	passes(t, "a page", func() answer { return reporter.get(t, address) })
	if n := len(ledger.Arrivals()); n != 1 {
		t.Errorf("%d requests reached the ledger, want the one that was granted", n)
	}
	if now, err := p.gw.Envoy(); err != nil || now != envoy {
		t.Errorf("Envoy was process %d and is %d: %v", envoy, now, err)
	}
}

// A commit that narrows an entitlement ends what was granted under it.
func TestANarrowerPolicyEndsLiveGrants(t *testing.T) {
	p := theProduct(t)
	reporter := p.as(t, "reporter", p.gw)
	g := p.mayRead(t, "/daily", 10*time.Minute)
	try := func() answer { return reporter.get(t, reportsURL("/daily/1")) }
	passes(t, "a report", try)
	p.commit(t, "Heads only", map[string]string{
		"entitlements/reports/read.yaml": strings.Replace(p.Files()["entitlements/reports/read.yaml"], "[http.get, http.head]", "[http.head]", 1),
	})
	eventually(t, "the grant has ended", func() error {
		if a := try(); a.reason() != "policy_changed" {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	shown, err := p.reporter.ShowGrant(t.Context(), g.ID)
	if err != nil || shown.State != "revoked" || shown.EndedBy != "policy_changed" {
		t.Errorf("%+v, %v", shown, err)
	}
}

// P5: when the record has no room, the action does not happen.
func TestP5_AFullSpoolLetsNothingThrough(t *testing.T) {
	p := theProduct(t)
	ctx := t.Context()
	p.commit(t, "Patience with reports", map[string]string{
		"apps/reports.yaml": strings.Replace(p.Files()["apps/reports.yaml"], "stale_after: 5s", "stale_after: 2m", 1),
	})
	small, err := p.StartGateway(ctx, "gw-small", "spool_bytes: 1048576")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Retire(small); err != nil {
			t.Error(err)
		}
	})
	reporter := p.as(t, "reporter", small)
	p.mayRead(t, "/daily", 10*time.Minute)
	try := func() answer { return reporter.get(t, reportsURL("/daily/1")) }
	passes(t, "a report", try)

	// Nobody takes the record: it grows.
	if err := p.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	// An outcome takes less room than was kept for it: now and then one more read finds
	// some. It is full once twenty in a row do not.
	allowed := 0
	for refused := 0; refused < 20; {
		switch a := try(); {
		case a.status == http.StatusOK:
			refused = 0
			if allowed++; allowed > 20_000 {
				t.Fatal("1 MiB of spool does not get full")
			}
		case a.reason() != "record_unavailable":
			t.Fatalf("%d %s", a.status, a.text)
		default:
			refused++
		}
	}
	before := len(p.Reports.Arrivals())
	for range 20 {
		if a := try(); a.status == http.StatusOK {
			t.Error("a full spool lets one through")
		}
	}
	if n := len(p.Reports.Arrivals()); n != before {
		t.Errorf("%d requests reached the app past a full spool", n-before)
	}
	t.Logf("%d reads filled the spool", allowed)
	if err := p.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	passes(t, "a report once the record is taken", try)
	if err := small.Shipped(ctx); err != nil {
		t.Fatal(err)
	}
	p.record(t)
}
