package integration

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// mayBundle puts a bundle of quick refunds and reports in force for one test, and one
// of which no gateway fronts an app.
func (p *product) mayBundle(t *testing.T) {
	t.Helper()
	files := p.Files()
	p.commit(t, "Add bundles", map[string]string{
		// By its name not the one that a refusal tells of: other tests read that.
		"entitlements/stripe/swift.yaml": strings.Replace(quick, "stripe/quick", "stripe/swift", 1),
		"bundles/refund-case.yaml":       "bundle: refund-case\nowner: team-payments\nentitlements: [stripe/swift, reports/read]\n",
		"apps/nowhere.yaml":              strings.NewReplacer("app: reports", "app: nowhere", "reports.acme", "nowhere.acme", p.Reports.URL(), "http://127.0.0.1:1").Replace(files["apps/reports.yaml"]),
		"entitlements/nowhere/read.yaml": strings.NewReplacer("reports/read", "nowhere/read", "app: reports", "app: nowhere").Replace(files["entitlements/reports/read.yaml"]),
		"bundles/nowhere-case.yaml":      "bundle: nowhere-case\nowner: team-payments\nentitlements: [stripe/swift, nowhere/read]\n",
	})
	eventually(t, "the bundles", func() error {
		list, err := p.refunder.Entitlements(t.Context())
		for _, e := range list.Items {
			if e.Name == "nowhere-case" {
				return nil
			}
		}
		return firstOf(err, errNotYet)
	})
}

// askBundle asks for a bundle that is granted at once.
func (p *product) askBundle(t *testing.T, name, charge string, d time.Duration) api.Request {
	t.Helper()
	r, err := p.refunder.Request(t.Context(), api.Ask{
		Entitlement: name, Params: map[string]string{"charge": charge, "amount_max": "5000", "folder": "/daily"}, Duration: d.String(), Reason: "order 17",
	}, api.NewKey())
	if err != nil || r.State != "approved" || len(r.Grants) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// One bundle across Stripe and an internal app, on a real gateway: both parts are let
// through, both end within one bound, a revoke of one ends both, and one that can be in
// force in one app only is undone.
func TestP3_ABundleBeginsAndEndsAsOne(t *testing.T) {
	p := theProduct(t)
	p.mayBundle(t)
	refunder := p.as(t, "refunder", p.gw)
	undone := p.askBundle(t, "nowhere-case", "ch_nowhere", 10*time.Minute)

	t.Run("time", func(t *testing.T) {
		r := p.askBundle(t, "refund-case", "ch_bundle1", 4*time.Second)
		g, err := p.refunder.ShowGrant(t.Context(), r.Grants[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		end := endOf(t, g)
		stripe, reports := len(p.Stripe.Arrivals()), len(p.Reports.Arrivals())
		passes(t, "a refund", func() answer { return refunder.refund(t, "ch_bundle1", "1") })
		passes(t, "a report", func() answer { return refunder.get(t, reportsURL("/daily/1")) })
		for over := map[string]bool{}; len(over) < 2; {
			// What it is refused for may be what another grant of the caller lacks.
			if a := refunder.refund(t, "ch_bundle1", "1"); a.status == http.StatusForbidden {
				over["refund"] = true
			}
			if a := refunder.get(t, reportsURL("/daily/1")); a.status == http.StatusForbidden {
				over["report"] = true
			}
			if time.Since(end) > patience {
				t.Fatalf("only %v ended", over)
			}
		}
		if early := time.Until(end); early > time.Second { // a gateway is never late, and a little early
			t.Errorf("both are refused %s before the end", early)
		}
		for _, a := range append(p.Stripe.Arrivals()[stripe:], p.Reports.Arrivals()[reports:]...) {
			if a.At.Sub(end) > env.Late {
				t.Errorf("%s %s reached its app %s after the end of the bundle", a.Method, a.Path, a.At.Sub(end))
			}
		}
	})

	t.Run("revoke", func(t *testing.T) {
		r := p.askBundle(t, "refund-case", "ch_bundle2", 10*time.Minute)
		passes(t, "a refund", func() answer { return refunder.refund(t, "ch_bundle2", "1") })
		passes(t, "a report", func() answer { return refunder.get(t, reportsURL("/daily/1")) })
		eventually(t, "the beginning of the bundle", func() error {
			shown, err := p.refunder.ShowRequest(t.Context(), r.ID)
			if err == nil && shown.Grants[0].InForce && shown.Grants[1].InForce {
				return nil
			}
			return firstOf(err, errNotYet)
		})
		ended, err := p.bob.Revoke(t.Context(), r.Grants[0].ID, api.Because{Reason: "lost"})
		if err != nil || len(ended.With) != 1 || ended.With[0] != r.Grants[1].ID {
			t.Fatalf("%+v, %v", ended, err)
		}
		for _, g := range r.Grants {
			eventually(t, "the word of the gateway", func() error {
				got, err := p.bob.Receipts(t.Context(), g.ID)
				if err == nil && got.Complete {
					return nil
				}
				return firstOf(err, errNotYet)
			})
		}
		stripe, reports := len(p.Stripe.Arrivals()), len(p.Reports.Arrivals())
		if a := refunder.refund(t, "ch_bundle2", "1"); a.status != http.StatusForbidden { // the other bundle's grant is for another charge
			t.Errorf("a refund after it: %d %s", a.status, a.text)
		}
		if a := refunder.get(t, reportsURL("/daily/1")); a.status != http.StatusForbidden {
			t.Errorf("a report after it: %d %s", a.status, a.text)
		}
		if n := len(p.Stripe.Arrivals()) - stripe + len(p.Reports.Arrivals()) - reports; n != 0 {
			t.Errorf("%d requests reached the apps after it", n)
		}
	})

	t.Run("exec", func(t *testing.T) {
		cmd := p.Command(context.WithoutCancel(t.Context()), "refunder", "exec", "--entitlement", "refund-case", "--param", "charge=ch_bundle3", "--param", "amount_max=5000",
			"--why", "order 17", "--gateway", p.gw.Address, "--", "sh", "-c",
			`"$0" -sS --fail-with-body -u "$STRIPE_API_KEY:" -d charge=ch_bundle3 -d amount=4200 "$STRIPE_API_BASE/v1/refunds" && "$0" -sS --fail-with-body -H "X-Mayfly-Key: $MAYFLY_REPORTS_KEY" "$MAYFLY_REPORTS_URL/daily/1" && test -z "$MAYFLY_URL"`, tool(t, "curl"))
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, &stdout, &stderr)
		}
		page, err := p.refunder.Grants(t.Context(), api.GrantsQuery{All: true, Limit: 2})
		if err != nil || len(page.Items) != 2 || page.Items[0].Request != page.Items[1].Request {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, g := range page.Items {
			if g.State != "ended" || g.EndedBy != "ended" || !strings.Contains(stderr.String(), g.ID) {
				t.Errorf("%s is %s (%s); told was %s", g.Entitlement, g.State, g.EndedBy, &stderr)
			}
		}
	})

	deadline := time.Now().Add(45 * time.Second) // 30 s after its start, and some
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		shown, err := p.refunder.ShowRequest(t.Context(), undone.ID)
		if err != nil {
			t.Fatal(err)
		}
		if shown.Grants[0].State != "active" {
			for _, g := range shown.Grants {
				if g.State != "revoked" || g.EndedBy != "incomplete" {
					t.Errorf("%s is %s (%s)", g.Entitlement, g.State, g.EndedBy)
				}
			}
			break
		}
		if shown.Grants[0].App != "nowhere" || shown.Grants[0].InForce || time.Now().After(deadline) {
			t.Fatalf("shown as %+v", shown.Grants)
		}
		<-tick.C
	}
	eventually(t, "the end of what was in force", func() error {
		if a := refunder.refund(t, "ch_nowhere", "1"); a.status == http.StatusForbidden {
			return nil
		}
		return errNotYet
	})
}
