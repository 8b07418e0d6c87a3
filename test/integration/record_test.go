package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

// record ships and exports the record, and requires that it holds and that it
// tells of everything that reached an app.
func (p *product) record(t testing.TB) (dir string, r *env.Record, report audit.Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.gw.Shipped(ctx); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "record")
	if err := p.Export(ctx, p.bob, dir); err != nil {
		t.Fatal(err)
	}
	report, err := p.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range report.Problems {
		t.Error("the record does not hold: ", problem)
	}
	if r, err = env.ReadRecord(dir); err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Hold(append(p.Reports.Arrivals(), p.Stripe.Arrivals()...)) {
		t.Error(err)
	}
	return dir, r, report
}

func TestTheRecordTellsTheWholeChain(t *testing.T) {
	p := theProduct(t)
	ctx := t.Context()
	refunder := p.as(t, "refunder", p.gw)
	g := p.mayRefund(t, "ch_chain", 10*time.Minute)
	passes(t, "a refund", func() answer { return refunder.refund(t, "ch_chain", "4200") })
	arrived := p.Stripe.Arrivals()
	action := arrived[len(arrived)-1].Action

	if _, err := p.bob.Trace(ctx, g.ID); err == nil {
		t.Error("the security group reads what others did without a grant")
	}
	if _, err := p.Grant(ctx, p.bob, nil, api.Ask{Entitlement: "mayfly/investigate", Reason: "the chain of a refund"}); err != nil {
		t.Fatal(err)
	}
	var trace api.Trace
	want := []string{"request.created", "offer.made", "approval.given", "grant.created", "action.intent", "action.reserved", "action.outcome"}
	for _, id := range []string{g.ID, g.Request, action} {
		eventually(t, "the trace of "+id, func() (err error) {
			trace, err = p.bob.Trace(ctx, id)
			if err != nil {
				return err
			}
			return lacks(trace, want)
		})
		if trace.Grant != g.ID || trace.Request != g.Request {
			t.Errorf("the trace of %s is of %s and %s", id, trace.Request, trace.Grant)
		}
	}
	if _, err := p.reporter.Trace(ctx, g.ID); err == nil {
		t.Error("another workload sees the trace")
	}

	_, r, report := p.record(t)
	i, ok := r.Intents[action]
	if !ok || i.Grant != g.ID || i.Operation != "refunds.create" || i.Attributes["amount"].Value != "4200" || i.Attributes["charge"].Value != "ch_chain" {
		t.Errorf("the intent says %+v", i)
	}
	if o := r.Outcomes[action]; o.Result != audit.ResultSent || o.Status != 200 {
		t.Errorf("the outcome says %+v", o)
	}
	if r.Reserved[action] != g.ID || !report.KeyGiven {
		t.Errorf("acknowledged under %q; key given %v", r.Reserved[action], report.KeyGiven)
	}
}

type lacking string

func (l lacking) Error() string { return "the trace lacks " + string(l) }

func lacks(trace api.Trace, want []string) error {
	var have strings.Builder
	for _, e := range trace.Entries {
		have.WriteString(e.Type + "\n")
	}
	for _, w := range want {
		if !strings.Contains(have.String(), w+"\n") {
			return lacking(w + " among " + have.String())
		}
	}
	return nil
}

// P9: a changed byte anywhere in leaves or segments is found, and named.
func TestP9_AFlippedByteIsFoundAnywhere(t *testing.T) {
	p := theProduct(t)
	reporter := p.as(t, "reporter", p.gw)
	p.mayRead(t, "/daily", 10*time.Minute)
	passes(t, "a report", func() answer { return reporter.get(t, reportsURL("/daily/1")) })
	kept, err := p.bob.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	passes(t, "another", func() answer { return reporter.get(t, reportsURL("/daily/2")) })
	dir, _, _ := p.record(t)
	if report, err := p.Verify(dir, kept); err != nil || !report.OK() {
		t.Fatalf("against an older checkpoint: %+v, %v", report.Problems, err)
	}
	var files []string
	for _, pattern := range []string{"leaves/*.jsonl", "segments/*.frames"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	for n := range 20 {
		path := files[n%len(files)]
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), good...)
		at := rand.IntN(len(bad))
		bad[at] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := p.Verify(dir)
		if err != nil || report.OK() {
			t.Errorf("%s: byte %d changed from %#x to %#x and nobody noticed: %v", filepath.Base(path), at, good[at], bad[at], err)
		} else if problem := report.Problems[0]; problem.Place.First < 0 {
			t.Errorf("%s: byte %d changed, and no entry is named: %s", filepath.Base(path), at, problem)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
