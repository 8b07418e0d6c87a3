package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/env"
)

// observing are the files that put an app in observe mode.
func (p *product) observing(app string, until time.Time, replace ...string) map[string]string {
	file := "apps/" + app + ".yaml"
	return map[string]string{
		file: strings.NewReplacer(replace...).Replace(p.Files()[file]) + "mode: observe\n",
		"exceptions/observe-" + app + ".yaml": fmt.Sprintf("exception: observe-%s\nowner: team-migration\nallows: observe\napp: %s\nuntil: %s\nreason: The old way is still open.\n",
			app, app, until.UTC().Format(time.RFC3339)),
	}
}

// observe puts an app in observe mode, until the end of the test or until enforce.
func (p *product) observe(t testing.TB, app string, until time.Time, replace ...string) {
	t.Helper()
	if _, err := p.Policy.Commit("Observe "+app, p.observing(app, until, replace...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.enforce(t, app) })
}

// enforce takes it out again, if it is in it.
func (p *product) enforce(t testing.TB, app string) {
	t.Helper()
	file := "exceptions/observe-" + app + ".yaml"
	if _, err := os.Stat(filepath.Join(p.Policy.Dir, "policy", file)); err != nil {
		return
	}
	hash, err := p.Policy.Commit("Enforce "+app, map[string]string{"apps/" + app + ".yaml": p.Files()["apps/"+app+".yaml"], file: ""})
	if err != nil {
		t.Fatal(err)
	}
	p.inForce(t, hash)
}

// An app beside its old way: whoever has a certificate passes, with a key of their own,
// and the record says who would be cut off. Nothing else opens, and one commit closes it.
func TestObserveBesideAnOldWay(t *testing.T) {
	p := theProduct(t)
	refunder, reporter := p.as(t, "refunder", p.gw), p.as(t, "reporter", p.gw)
	p.observe(t, "stripe", time.Now().Add(time.Hour))
	forged := "act_01ARZ3NDEKTSV4RRFFQ69G5FAV"
	pay := func() answer {
		a, _ := refunder.send(t, http.MethodPost, stripeURL("/v1/refunds"), url.Values{"charge": {"ch_old"}, "amount": {"4200"}},
			"Authorization", "Bearer "+callersKey, "X-Mayfly-Action", forged, "X-Mayfly-Assertion", "forged", "X-Envoy-Original-Path", "/forged")
		return a
	}
	passes(t, "a refund that nobody granted", pay)
	got := p.Stripe.Arrivals()
	last := got[len(got)-1]
	if last.Authorization != "Bearer "+callersKey {
		t.Errorf("Stripe saw the key %q", last.Authorization)
	}
	text := joined(last.Header)
	for _, no := range []string{env.RefundsKey, env.ReadKey, forged, "forged"} {
		if strings.Contains(text, no) {
			t.Errorf("Stripe saw %q: %s", no, text)
		}
	}
	if a := reporter.get(t, reportsURL("/daily/1")); !a.holdsNothing() {
		t.Errorf("an enforced app beside it: %d %s", a.status, a.text)
	}
	who, err := p.bob.Whoami(t.Context())
	if err != nil || len(who.Observed) != 1 || who.Observed[0].App != "stripe" || who.Observed[0].Owner != "team-migration" {
		t.Errorf("whoami: %+v, %v", who.Observed, err)
	}

	_, record, report := p.record(t)
	o, ok := record.Observed[last.Action]
	if _, intent := record.Intents[last.Action]; !ok || intent || o.Code != "no_grant" || o.Grant != "" || o.Operation != "refunds.create" || o.Attributes["charge"].Value != "ch_old" {
		t.Errorf("on record: %+v, an intent: %t", o, intent)
	}
	if out := record.Outcomes[last.Action]; out.Status != http.StatusOK || report.Observed == 0 {
		t.Errorf("its outcome: %+v, %d observed", out, report.Observed)
	}
	chain, err := p.refunder.Trace(t.Context(), last.Action)
	if err != nil || len(chain.Entries) == 0 || !strings.HasPrefix(chain.Entries[0].Text, "OBSERVED, not enforced: stripe refunds.create") {
		t.Errorf("the trace says %+v, %v", chain.Entries, err)
	}

	g := p.mayRefund(t, "ch_old", 10*time.Minute)
	eventually(t, "a refund that would be allowed", func() error {
		if a := pay(); a.status != http.StatusOK {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		_, record, _ := p.record(t)
		got := p.Stripe.Arrivals()
		if o := record.Observed[got[len(got)-1].Action]; o.Grant != g.ID || o.Code != "" {
			return fmt.Errorf("on record: %+v", o)
		}
		return nil
	})
	if a := p.Stripe.Arrivals(); a[len(a)-1].Authorization != "Bearer "+callersKey {
		t.Error("what would be allowed is done with the gateway's key")
	}

	p.enforce(t, "stripe")
	shop := p.as(t, "shop", p.gw)
	eventually(t, "Stripe is enforced", func() error {
		if a := shop.refund(t, "ch_old", "4200"); !a.holdsNothing() {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	a := passes(t, "the refund that is granted", pay)
	if got := p.Stripe.Arrivals(); got[len(got)-1].Authorization != "Bearer "+env.RefundsKey {
		t.Errorf("done with another key than the gateway's: %s", a.text)
	}
}

// holdsNothing reports whether it was refused to who holds nothing, or what ended in an
// earlier test.
func (a answer) holdsNothing() bool { return a.reason() == "no_grant" || a.reason() == "ended" }

// The end comes by the gateway's own clock, with nobody left to tell it.
func TestP3_ObservingEndsWithMayflydDead(t *testing.T) {
	p := theProduct(t)
	reporter := p.as(t, "reporter", p.gw)
	until := time.Now().Add(15 * time.Second).Truncate(time.Second)
	p.observe(t, "reports", until, "stale_after: 5s", "stale_after: 5m")
	passes(t, "a report that nobody granted", func() answer { return reporter.get(t, reportsURL("/daily/1")) })
	if err := p.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.StartControl(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	passed := 0
	eventually(t, "the app is enforced", func() error {
		a := reporter.get(t, reportsURL("/daily/1"))
		if a.status == http.StatusOK {
			passed++
		}
		if !a.holdsNothing() {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	if passed == 0 {
		t.Error("nothing passed while mayflyd was dead: the test shows nothing")
	}
	for _, a := range p.Reports.Arrivals() {
		if late := a.At.Sub(until); late > env.Late && a.Path == "/daily/1" {
			t.Errorf("%s after the end", late)
		}
	}
}

// Without an exception no commit observes what a gateway in production fronts.
func TestNoCommitObservesInProductionWithoutAnException(t *testing.T) {
	p := theProduct(t)
	before, err := p.bob.Whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files := p.observing("reports", time.Now().Add(time.Hour))
	delete(files, "exceptions/observe-reports.yaml")
	p.commit(t, "Observe without an exception", files)
	eventually(t, "the commit is refused", func() error {
		log, err := os.ReadFile(filepath.Join(p.Dir, "mayflyd.log"))
		if err == nil && !strings.Contains(string(log), "allows: observe") {
			err = errNotYet
		}
		return err
	})
	after, err := p.bob.Whoami(t.Context())
	if err != nil || after.Policy.Commit != before.Policy.Commit || len(after.Observed) != 0 {
		t.Errorf("in force is %+v, %v", after, err)
	}
}
