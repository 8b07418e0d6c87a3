package access_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

const wide = `exception: refunds-wide
owner: team-payments
allows: wildcard
entitlement: stripe/refunds
until: %UNTIL
reason: Every way to give money back, while the new one is tried.
`

// excuse puts a wildcard in force that an exception excuses for an hour.
func (w *world) excuse() {
	w.t.Helper()
	w.files["exceptions/refunds-wide.yaml"] = []byte(strings.Replace(wide, "%UNTIL", w.clock().Add(time.Hour).Format(time.RFC3339), 1))
	w.apply("entitlements/stripe/refunds.yaml", "[refunds.create]", "[\"refunds.*\"]")
}

// From its end on what an exception excused is asked for in vain, what waits for
// approvals is not granted any more, and what was granted goes on to its own end.
func TestExceptionEndsWhatItExcuses(t *testing.T) {
	w := newWorld(t)
	w.excuse()
	w.pass(50 * time.Minute)
	live := w.granted()
	waits := w.ask(w.as(refunder), refund(), access.Pending)
	w.pass(10 * time.Minute)
	if r := w.ask(w.as(refunder), refund(), access.Denied); r.Code != policy.DenyExceptionOver || !strings.Contains(r.Sentence, "refunds-wide") {
		t.Errorf("denied as %s: %s", r.Code, r.Sentence)
	}
	if r, err := w.Approve(t.Context(), w.as(bob), waits.ID, waits.OfferDigest, ""); err != nil || r.State != access.Denied || r.Code != policy.DenyExceptionOver || !r.Grant.IsZero() {
		t.Errorf("approved after the exception's end: %s %s, %v", r.State, r.Code, err)
	}
	if g, err := w.ShowGrant(t.Context(), w.as(refunder), live.Grant); err != nil || g.State != grant.Active {
		t.Errorf("the grant of before: %+v, %v", g, err)
	}
}

// A commit that brings an exception which is over is refused, and the one in force stays.
func TestExceptionThatIsOverKeepsACommitOut(t *testing.T) {
	w := newWorld(t)
	w.excuse()
	w.pass(time.Hour)
	w.files = maps.Clone(w.files)
	w.files["exceptions/refunds-wide.yaml"] = []byte(strings.Replace(string(w.files["exceptions/refunds-wide.yaml"]), "is tried", "is still tried", 1))
	_, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: strings.Repeat("2", 40), After: w.commit})
	var all policy.Errors
	if !errors.As(err, &all) || len(all) != 1 || all[0].Code != policy.CodeException || all[0].File != "exceptions/refunds-wide.yaml" {
		t.Fatalf("a commit with an exception that is over: %v", err)
	}
	set, err := w.Policy(t.Context())
	if err != nil || set.Commit() != w.commit {
		t.Errorf("in force is %s, %v", set.Commit(), err)
	}
	delete(w.files, "exceptions/refunds-wide.yaml")
	w.apply("entitlements/stripe/refunds.yaml", "[\"refunds.*\"]", "[refunds.create]")
	w.ask(w.as(refunder), refund(), access.Pending)
}

// An exception that is over is its owner's to mend: commits of others enter into force
// beside it, what it excused stays denied, and everybody is told.
func TestExceptionThatIsOverKeepsNobodyElseOut(t *testing.T) {
	w := newWorld(t)
	w.excuse()
	w.pass(time.Hour - time.Second)
	notices := func() string {
		t.Helper()
		v, err := w.PolicyStatus(t.Context(), w.as(alice))
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(v.Notices(), " "), "refunds-wide of team-payments since"); said != (len(v.Over) == 1) {
			t.Errorf("%v are over, and %q is told", v.Over, v.Notices())
		}
		return strings.Join(v.Notices(), "\n")
	}
	if got := notices(); got != "" {
		t.Errorf("before its end: %s", got)
	}
	w.pass(time.Second)
	if got := notices(); !strings.Contains(got, "what they excused is denied") {
		t.Errorf("after its end nobody is told: %q", got)
	}
	w.files = maps.Clone(w.files)
	w.apply("entitlements/reports/read.yaml", "max: 8h", "max: 7h")
	if set, err := w.Policy(t.Context()); err != nil || set.Commit() != w.commit {
		t.Errorf("in force is %s, %v", set.Commit(), err)
	}
	if r := w.ask(w.as(refunder), refund(), access.Denied); r.Code != policy.DenyExceptionOver {
		t.Errorf("what it excused: %s", r.Code)
	}
	p, err := w.PlanPolicy(t.Context(), w.in(dave, "security"), w.files)
	if err != nil || !slices.ContainsFunc(p.Warnings, func(one policy.Warning) bool { return one.Code == policy.WarnOver }) {
		t.Errorf("a plan warns of %v, %v", p.Warnings, err)
	}
}

// A policy that entered into force under a Mayfly which asked for no exception goes
// on under this one; the next commit has to have it.
func TestPolicyInForceGoesOnAfterAnUpgrade(t *testing.T) {
	w := newWorld(t)
	files := w.files
	files["entitlements/stripe/refunds.yaml"] = []byte(strings.Replace(string(files["entitlements/stripe/refunds.yaml"]), "[refunds.create]", "[\"refunds.*\"]", 1))
	commit := strings.Repeat("3", 40)
	err := w.store.Update(t.Context(), func(tx access.Tx) error {
		return tx.Policies().Apply(context.Background(), access.StoredPolicy{Digest: policy.Digest(files), Commit: commit, Files: files, Applied: w.clock()})
	})
	if err != nil {
		t.Fatal(err)
	}
	w.commit = commit
	w.ask(w.as(refunder), refund(), access.Pending)
	_, err = w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: files, Commit: strings.Repeat("4", 40), After: commit})
	var all policy.Errors
	if !errors.As(err, &all) || all[0].Code != policy.CodeException {
		t.Errorf("the next commit: %v", err)
	}
}
