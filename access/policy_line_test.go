package access_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// line is a world in which commits settle, as in production.
type line struct {
	*world
	commits int
}

func newLine(t *testing.T, edit func(files map[string][]byte)) *line {
	t.Helper()
	w := newWorld(t)
	w.settles = true
	if edit == nil {
		w.again(func(s access.Store) access.Store { return s })
		return &line{world: w}
	}
	w.files = maps.Clone(w.files)
	edit(w.files)
	w.open(t.TempDir()+"/mayfly.db", func(s access.Store) access.Store { return s })
	w.commit = ""
	l := &line{world: w}
	l.takes(l.next())
	w.pass(2 * policy.SignerRest) // long ago
	return l
}

// next is a commit of the world's files, signed by Sam.
func (l *line) next() access.PolicyCommit {
	l.commits++
	return access.PolicyCommit{Files: maps.Clone(l.files), Commit: fmt.Sprintf("%08d", l.commits) + strings.Repeat("c", 32), Signer: "sam", After: l.commit}
}

// edited is the next commit after a replacement.
func (l *line) edited(file, old, now string) access.PolicyCommit {
	l.t.Helper()
	l.files = maps.Clone(l.files)
	if !strings.Contains(string(l.files[file]), old) {
		l.t.Fatalf("%s does not say %q", file, old)
	}
	l.files[file] = []byte(strings.ReplaceAll(string(l.files[file]), old, now))
	return l.next()
}

func (l *line) offer(c access.PolicyCommit) access.PolicyResult {
	l.t.Helper()
	c.After = l.commit
	out, err := l.ApplyPolicy(l.t.Context(), c)
	if err != nil {
		l.t.Fatal(err)
	}
	if out.Waits == nil {
		l.commit = c.Commit
	}
	return out
}

// takes wants a commit in force at once.
func (l *line) takes(c access.PolicyCommit) {
	l.t.Helper()
	if out := l.offer(c); out.Waits != nil {
		l.t.Fatalf("commit %s waits until %s", c.Commit, out.Waits.Until)
	}
	if set, err := l.Policy(l.t.Context()); err != nil || set.Commit() != c.Commit {
		l.t.Fatalf("in force is %v, %v", set, err)
	}
}

// waits wants a commit to wait until a time, and another one in force.
func (l *line) waits(c access.PolicyCommit, until time.Time) {
	l.t.Helper()
	out := l.offer(c)
	if out.Waits == nil {
		l.t.Fatalf("commit %s is in force at once", c.Commit)
	}
	if !out.Waits.Until.Equal(until) {
		l.t.Errorf("commit %s waits until %s, want %s", c.Commit, out.Waits.Until, until)
	}
	if set, err := l.Policy(l.t.Context()); err != nil || set.Commit() != l.commit {
		l.t.Fatalf("in force is %v, %v", set, err)
	}
}

const mainFile = "mayfly.yaml"

func TestACommitByWhichSomebodyGainsWaits(t *testing.T) {
	l := newLine(t, nil)
	before := len(l.leaves())
	wider := l.edited(refundsFile, "group:idp/support", "group:idp/everybody")
	due := l.clock().Add(policy.DefaultSettle)
	l.waits(wider, due)
	if got := l.types(before); got != "policy.settling" {
		t.Errorf("on record stands %q", got)
	}
	l.pass(policy.DefaultSettle - time.Second)
	l.waits(wider, due)
	if got := l.types(before); got != "policy.settling" {
		t.Errorf("on record stands %q: it was said before", got)
	}
	l.pass(time.Second)
	l.takes(wider)
	if got := l.types(before); got != "policy.settling policy.applied" {
		t.Errorf("on record stands %q", got)
	}
	if waiting, err := l.Settling(t.Context()); err != nil || len(waiting) != 0 {
		t.Errorf("there still waits %v, %v", waiting, err)
	}
}

func TestAMovedWallClockSettlesNothing(t *testing.T) {
	l := newLine(t, nil)
	wider := l.edited(refundsFile, "group:idp/support", "group:idp/everybody")
	l.offer(wider)
	l.moved += 24 * time.Hour
	l.pass(24 * time.Hour)
	if out := l.offer(wider); out.Waits == nil {
		t.Fatal("a wall clock that was moved forward puts a commit in force")
	}
	l.pass(policy.DefaultSettle)
	l.takes(wider)
}

func TestACommitByWhichNobodyGainsIsInForceAtOnce(t *testing.T) {
	for name, edit := range map[string]func(l *line) access.PolicyCommit{
		"a shorter cap":      func(l *line) access.PolicyCommit { return l.edited(refundsFile, "max: 2h", "max: 1h") },
		"another test only":  func(l *line) access.PolicyCommit { l.files["README.md"] = []byte("x"); return l.next() },
		"one fewer may ask":  func(l *line) access.PolicyCommit { return l.edited(refundsFile, "group:idp/support, ", "") },
		"an entitlement off": func(l *line) access.PolicyCommit { delete(l.files, "entitlements/reports/read.yaml"); return l.next() },
		"an app that is new": func(l *line) access.PolicyCommit {
			l.files["apps/notes.yaml"] = []byte("app: notes\nkind: web\nowner: team-data\nhosts: [notes.acme.example]\ncallers: [services]\nupstream: {url: \"https://notes.internal.acme.example\"}\n")
			l.files["entitlements/notes/read.yaml"] = []byte("entitlement: notes/read\nowner: team-data\napp: notes\nallow: [{operations: [http.get]}]\ngrant: {max: 1h}\nrequest: {who: [group:idp/support], for: [self]}\napprove: {auto: {when: \"request.duration <= duration('10m')\"}}\n")
			return l.next()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, nil)
			l.files = maps.Clone(l.files)
			l.takes(edit(l))
		})
	}
}

func TestWhatTakesPolicyOverWaits(t *testing.T) {
	for name, edit := range map[string]func(l *line) access.PolicyCommit{
		"the host of a secret": func(l *line) access.PolicyCommit {
			return l.edited("apps/stripe.yaml", "https://api.stripe.com", "https://api.attacker.example")
		},
		"a signer more": func(l *line) access.PolicyCommit {
			return l.edited(mainFile, "signers:\n", "signers:\n  - {person: bob, key: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpN1dKTxu8tbQmGP9zD0WyBQKcB4aMdsqXbZ9E8e6qf\"}\n")
		},
		"a shorter wait": func(l *line) access.PolicyCommit { return l.edited(mainFile, "signers:\n", "settle: 1m\nsigners:\n") },
		"another group of security": func(l *line) access.PolicyCommit {
			return l.edited(mainFile, "security: group:idp/security", "security: group:idp/support")
		},
		"a rule that approves": func(l *line) access.PolicyCommit {
			return l.edited(refundsFile, "approve:\n", "approve:\n  auto: {when: \"request.duration <= duration('1h')\"}\n")
		},
		"an account taken from its person": func(l *line) access.PolicyCommit {
			return l.edited(mainFile, `"user:idp:alice", "user:idp:alice-admin"`, `"user:idp:alice"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, nil)
			c := edit(l)
			l.waits(c, l.clock().Add(policy.DefaultSettle))
		})
	}
}

func TestAnAppThatComesBackWaits(t *testing.T) {
	l := newLine(t, nil)
	l.files = maps.Clone(l.files)
	gone := map[string][]byte{}
	for _, name := range []string{"apps/stripe.yaml", refundsFile, "entitlements/stripe/read.yaml"} {
		if body, ok := l.files[name]; ok {
			gone[name] = body
			delete(l.files, name)
		}
	}
	l.files[mainFile] = []byte(strings.Replace(string(l.files[mainFile]), "apps: [stripe, reports]", "apps: [reports]", 1))
	l.takes(l.next())
	for range 10 { // whatever comes between them
		l.files["README.md"] = append(l.files["README.md"], '.')
		l.takes(l.next())
	}
	maps.Copy(l.files, gone)
	l.files[mainFile] = []byte(strings.Replace(string(l.files[mainFile]), "apps: [reports]", "apps: [reports, stripe]", 1))
	back := l.edited("apps/stripe.yaml", "https://api.stripe.com", "https://api.attacker.example")
	l.waits(back, l.clock().Add(policy.DefaultSettle))
}

func TestACorrectionWaitsNoLongerThanWhatItCorrects(t *testing.T) {
	l := newLine(t, nil)
	due := l.clock().Add(policy.DefaultSettle)
	wide := l.edited(refundsFile, "group:idp/support", "group:idp/everybody, group:idp/support")
	l.waits(wide, due)
	l.pass(10 * time.Minute)
	mended := l.edited(refundsFile, "max: 2h", "max: 1h")
	l.waits(mended, due)
	other := l.edited(refundsFile, "50000", "60000")
	l.waits(other, l.clock().Add(policy.DefaultSettle))
	l.pass(5 * time.Minute)
	l.takes(mended) // and what it corrects was never in force
	// What was undone gives nobody anything: it is in force at once.
	l.files[refundsFile] = []byte(strings.ReplaceAll(string(mended.Files[refundsFile]), "group:idp/everybody, ", ""))
	l.takes(l.next())
}

func TestACommitThatLeftTheBranchDoesNotSettle(t *testing.T) {
	l := newLine(t, nil)
	before := len(l.leaves())
	wider := l.edited(refundsFile, "group:idp/support", "group:idp/everybody")
	l.offer(wider)
	l.pass(10 * time.Minute)
	if err := l.WithdrawPolicy(t.Context(), []string{wider.Commit, "another"}); err != nil {
		t.Fatal(err)
	}
	if got := l.types(before); got != "policy.settling policy.withdrawn" {
		t.Errorf("on record stands %q", got)
	}
	l.pass(5 * time.Minute)
	l.waits(wider, l.clock().Add(policy.DefaultSettle)) // it comes back: its time begins anew
}

func TestACommitNeedsTheSignaturesThatPolicyInForceWants(t *testing.T) {
	two := func(files map[string][]byte) {
		text := strings.Replace(string(files[mainFile]), "signers:\n", "signatures: 2\nsigners:\n  - {person: bob, key: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpN1dKTxu8tbQmGP9zD0WyBQKcB4aMdsqXbZ9E8e6qf\"}\n", 1)
		files[mainFile] = []byte(text)
	}
	l := newLine(t, two)
	for _, signers := range [][]string{{"alice"}, {"alice", "alice"}, {""}, {"", ""}} {
		c := l.edited(refundsFile, "max: 2h", "max: 2h")
		c.Signer, c.Cosigners, c.After = signers[0], signers[1:], l.commit
		_, err := l.ApplyPolicy(t.Context(), c)
		var no *access.RefusedPolicy
		if !errors.As(err, &no) || no.Reason != access.ReasonFewSignatures || no.Commit != c.Commit {
			t.Errorf("signed by %q: %v", signers, err)
		}
	}
	c := l.edited(refundsFile, "max: 2h", "max: 1h")
	c.Signer, c.Cosigners = "alice", []string{"bob"}
	l.takes(c)
	// A commit that wants fewer is judged by the policy that it changes.
	fewer := l.edited(mainFile, "signatures: 2\n", "")
	fewer.After = l.commit
	if _, err := l.ApplyPolicy(t.Context(), fewer); err == nil {
		t.Error("a commit with one signature lowered the number of signatures")
	}
}

func TestP6_NoRuleApprovesWhoeverSignedThePolicy(t *testing.T) {
	rule := func(files map[string][]byte) {
		files["entitlements/mayfly/end.yaml"] = []byte(`entitlement: mayfly/end
owner: team-payments
app: mayfly
allow:
  - {operations: [grants.revoke], where: {app: {is: $app}}}
params:
  app: {type: string, required: true}
grant: {max: 1h}
request: {who: [alice, bob, carol], for: [self], justification: none}
approve:
  auto: {when: "true"}
  steps: [{any: [bob, carol], count: 1, within: 1h}]
`)
	}
	ask := access.Ask{Entitlement: "mayfly/end", Params: map[string]string{"app": "stripe"}}
	l := newLine(t, rule)
	l.ask(l.as(alice), ask, access.Approved)
	l.files = maps.Clone(l.files)
	l.files["README.md"] = []byte("signed by Alice")
	l.takes(withSigners(l.next(), "alice", nil))
	for _, who := range []string{alice, aliceAdmin} {
		r := l.ask(l.as(who), ask, access.Pending)
		if !strings.Contains(r.Sentence, "waits for 1 approval of bob, carol") {
			t.Errorf("%s is told %q", who, r.Sentence)
		}
		if p, err := l.Preview(t.Context(), l.as(who), ask); err != nil || p.Outcome != policy.NeedsApproval {
			t.Errorf("%s is shown %v, %v", who, p.Outcome, err)
		}
	}
	l.ask(l.as(bob), ask, access.Approved)
	l.moved += 2 * policy.SignerRest // the wall clock alone
	l.pass(2 * policy.SignerRest)
	l.ask(l.as(alice), ask, access.Pending)
	if _, err := l.Withdraw(t.Context(), l.as(alice), l.ask(l.as(alice), ask, access.Pending).ID); err != nil {
		t.Fatal(err)
	}
	l.pass(policy.SignerRest - time.Second)
	l.ask(l.as(alice), ask, access.Pending)
	l.pass(time.Second)
	l.ask(l.as(alice), ask, access.Approved)

	// Whoever leaves themselves out of people: is no stranger, and who signed second is not either.
	l.files["README.md"] = []byte("signed by Bob, and Alice")
	text := string(l.files[mainFile])
	line := text[strings.Index(text, "  - {person: alice"):]
	line = line[:strings.Index(line, "\n")+1]
	l.files[mainFile] = []byte(strings.Replace(text, line, "  - {person: alice, accounts: [\"user:idp:somebody\"]}\n", 1))
	l.files["entitlements/mayfly/end.yaml"] = []byte(strings.ReplaceAll(string(l.files["entitlements/mayfly/end.yaml"]), "who: [alice, bob", `who: ["user:idp:alice", bob`))
	c := withSigners(l.next(), "bob", []string{"alice"})
	l.offer(c)
	l.pass(policy.DefaultSettle)
	l.takes(c)
	l.ask(l.as(alice), ask, access.Pending)
	l.ask(l.as(carol), ask, access.Approved)
}

func withSigners(c access.PolicyCommit, signer string, cosigners []string) access.PolicyCommit {
	c.Signer, c.Cosigners = signer, cosigners
	return c
}

// holders may hold policy: Bob, Carol and Alice, by either account.
func holders(files map[string][]byte) {
	files["entitlements/mayfly/hold.yaml"] = []byte(`entitlement: mayfly/hold
owner: team-payments
app: mayfly
allow: [{operations: [policy.hold]}]
grant: {max: 8h, default: 4h}
request: {who: [alice, bob, carol], for: [self], justification: none}
approve: {auto: {when: "true"}}
`)
}

func (l *line) mayHold(who ...string) {
	l.t.Helper()
	for _, w := range who {
		l.ask(l.as(w), access.Ask{Entitlement: "mayfly/hold"}, access.Approved)
	}
}

func (l *line) inForce() string {
	l.t.Helper()
	set, err := l.Policy(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return set.Commit()
}

func TestTwoPersonsHoldPolicyAtAnEarlierCommit(t *testing.T) {
	l := newLine(t, holders)
	old := l.commit
	wider := l.edited(refundsFile, "max: 2h, default: 30m", "max: 4h, default: 3h")
	l.offer(wider)
	l.pass(policy.DefaultSettle)
	l.takes(wider)
	r := l.granted() // for three hours
	l.mayHold(alice, aliceAdmin, bob)
	ctx := t.Context()
	before := len(l.leaves())

	first, err := l.Hold(ctx, l.as(alice), old[:12], time.Hour)
	if err != nil || !first.ConfirmedBy.IsZero() || l.inForce() != wider.Commit {
		t.Fatalf("one person: %+v, %v, in force is %s", first, err, l.inForce())
	}
	_, err = l.Hold(ctx, l.as(aliceAdmin), old, time.Hour)
	wantCode(t, err, access.CodeSelfApproval)
	_, err = l.Hold(ctx, l.as(carol), old, time.Hour)
	wantCode(t, err, access.CodeNoGrant)
	_, err = l.Hold(ctx, l.as(refunder), old, time.Hour)
	wantCode(t, err, access.CodeNotAPerson)
	_, err = l.Hold(ctx, l.as(bob), "fffffffffff", time.Hour)
	wantCode(t, err, access.CodeNotFound)
	if l.inForce() != wider.Commit {
		t.Fatal("policy is held by one person")
	}
	second, err := l.Hold(ctx, l.as(bob), old, time.Hour)
	if err != nil || second.ConfirmedBy.String() != bob || len(second.Ended) != 1 {
		t.Fatalf("two persons: %+v, %v", second, err)
	}
	if l.inForce() != old {
		t.Fatalf("in force is %s", l.inForce())
	}
	if g, err := l.ShowGrant(ctx, l.as(refunder), r.Grant); err != nil || grant.ReasonOf(g.InForce(l.clock())) != grant.PolicyChanged {
		t.Errorf("a grant that the held policy would not make: %v, %v", g.State, err)
	}
	if got := l.types(before); got != "policy.hold policy.hold grant.revoked policy.applied" {
		t.Errorf("on record stands %q", got)
	}

	l.commit = old
	l.pass(time.Minute)
	late := l.edited(refundsFile, "50000", "60000")
	if out := l.offer(late); out.Waits == nil || !out.Waits.Held {
		t.Fatalf("somebody gains while policy is held: %+v", out)
	}
	if out := l.offer(wider); out.Waits == nil || !out.Waits.Held {
		t.Fatalf("what was held is in force again: %+v", out)
	}
	l.pass(58 * time.Minute)
	if err := l.ReleaseHolds(ctx); err != nil || l.inForce() != old {
		t.Fatalf("the hold ended early: %v", err)
	}
	l.pass(time.Minute)
	if err := l.ReleaseHolds(ctx); err != nil || l.inForce() != wider.Commit {
		t.Fatalf("the hold did not end by itself: %v, in force is %s", err, l.inForce())
	}
	if got := l.types(before); !strings.HasSuffix(got, "policy.released policy.applied") {
		t.Errorf("on record stands %q", got)
	}
}

func TestACommitByWhichNobodyGainsEntersIntoForceDuringAHold(t *testing.T) {
	l := newLine(t, holders)
	l.mayHold(bob, carol)
	held := l.commit
	for _, who := range []string{bob, carol} {
		if _, err := l.Hold(t.Context(), l.as(who), held, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	narrower := l.edited(refundsFile, "max: 2h", "max: 1h")
	l.takes(narrower)
	l.pass(time.Hour)
	if err := l.ReleaseHolds(t.Context()); err != nil || l.inForce() != narrower.Commit {
		t.Fatalf("the end of the hold undid it: %v, in force is %s", err, l.inForce())
	}
}

func TestAHoldThatIsProlongedGoesBackToWhatWasBeforeIt(t *testing.T) {
	l := newLine(t, holders)
	old := l.commit
	wider := l.edited(refundsFile, "max: 2h", "max: 3h")
	l.offer(wider)
	l.pass(policy.DefaultSettle)
	l.takes(wider)
	l.mayHold(bob, carol)
	both := func(length time.Duration) {
		t.Helper()
		for _, who := range []string{bob, carol} {
			if _, err := l.Hold(t.Context(), l.as(who), old, length); err != nil {
				t.Fatal(err)
			}
		}
	}
	both(time.Hour)
	l.pass(30 * time.Minute)
	both(2 * time.Hour)
	l.pass(time.Hour)
	if err := l.ReleaseHolds(t.Context()); err != nil || l.inForce() != old {
		t.Fatalf("the second hold ended with the first: %v", err)
	}
	l.pass(time.Hour)
	if err := l.ReleaseHolds(t.Context()); err != nil || l.inForce() != wider.Commit {
		t.Fatalf("in force is %s after the holds, %v", l.inForce(), err)
	}
}

func TestTheWishForAHoldIsForgotten(t *testing.T) {
	l := newLine(t, holders)
	l.mayHold(bob, carol)
	if _, err := l.Hold(t.Context(), l.as(bob), l.commit, time.Hour); err != nil {
		t.Fatal(err)
	}
	l.pass(15 * time.Minute)
	out, err := l.Hold(t.Context(), l.as(carol), l.commit, time.Hour)
	if err != nil || !out.ConfirmedBy.IsZero() {
		t.Fatalf("a second person came too late: %+v, %v", out, err)
	}
	l.pass(time.Minute)
	if out, err = l.Hold(t.Context(), l.as(carol), l.commit, 2*time.Hour); err != nil || !out.ConfirmedBy.IsZero() {
		t.Fatalf("another time was confirmed: %+v, %v", out, err)
	}
	l.pass(15 * time.Minute)
	if err := l.ReleaseHolds(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := l.PolicyStatus(t.Context(), l.as(erin))
	if err != nil || v.Proposed != nil || v.Hold != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestHowPolicyStandsIsTold(t *testing.T) {
	l := newLine(t, holders)
	ctx := t.Context()
	l.mayHold(bob, carol)
	_, err := l.PolicyStatus(ctx, l.as(refunder))
	wantCode(t, err, access.CodeNotAPerson)
	if n, err := l.PolicyNotices(ctx); err != nil || len(n) != 0 {
		t.Fatalf("all is well, and told is %q, %v", n, err)
	}
	wider := l.edited(refundsFile, "group:idp/support", "group:idp/everybody")
	l.offer(wider)
	before := len(l.leaves())
	for range 2 {
		if err := l.RefusePolicy(ctx, strings.Repeat("d", 40), "unsigned", "it is not signed"); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.types(before); got != "policy.refused" {
		t.Errorf("on record stands %q", got)
	}
	since := l.clock()
	if err := l.LostPolicy(ctx); err != nil {
		t.Fatal(err)
	}
	l.pass(time.Minute)
	if err := l.LostPolicy(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Hold(ctx, l.as(bob), l.commit, time.Hour); err != nil {
		t.Fatal(err)
	}
	v, err := l.PolicyStatus(ctx, l.as(erin))
	if err != nil || v.InForce.Commit != l.commit || len(v.Settling) != 1 || v.Settling[0].Commit != wider.Commit || len(v.Settling[0].Gains) == 0 ||
		v.Seen.Refused.Reason != "unsigned" || !v.Seen.Failed.Equal(since) || v.Proposed == nil || v.Proposed.First != bob || v.Settle != policy.DefaultSettle {
		t.Errorf("%+v, %v", v, err)
	}
	n, err := l.PolicyNotices(ctx)
	if err != nil || len(n) != 3 {
		t.Errorf("told is %q, %v", n, err)
	}
	if err := l.SawPolicy(ctx, l.commit); err != nil {
		t.Fatal(err)
	}
	if n, err := l.PolicyNotices(ctx); err != nil || len(n) != 1 {
		t.Errorf("told is %q, %v", n, err)
	}
}

// The time that status tells beside a tip is one at which the tip was there.
func TestStatusTellsWhenTheTipWasRead(t *testing.T) {
	l := newLine(t, nil)
	for _, tip := range []string{l.commit, strings.Repeat("d", 40)} {
		l.pass(time.Second)
		if err := l.SawPolicy(t.Context(), tip); err != nil {
			t.Fatal(err)
		}
		if v, err := l.PolicyStatus(t.Context(), l.as(erin)); err != nil || v.Seen.Tip != tip || !v.Seen.At.Equal(l.clock()) {
			t.Errorf("at %s told is %+v, %v", l.clock(), v.Seen, err)
		}
	}
}

// However many commits wait, it is one sentence: it stands above every page and every
// answer, and says the next one and when, to the second.
func TestCommitsThatWaitAreOneSentence(t *testing.T) {
	l := newLine(t, nil)
	first := l.edited(refundsFile, "max: 50000}", "max: 50001}")
	l.offer(first)
	due := l.clock().Add(policy.DefaultSettle).Format(time.RFC3339)
	one := "Policy commit " + first.Commit[:12] + " waits until " + due + ", because somebody gains by it."
	if n, err := l.PolicyNotices(t.Context()); err != nil || len(n) != 1 || n[0] != one {
		t.Errorf("told is %q, %v", n, err)
	}
	l.pass(time.Minute + time.Microsecond)
	for i := range 3 {
		l.offer(l.edited(refundsFile, fmt.Sprintf("max: %d}", 50001+i), fmt.Sprintf("max: %d}", 50002+i)))
	}
	all := "4 policy commits wait, the next one (" + first.Commit[:12] + ") until " + due + ", because somebody gains by them."
	if n, err := l.PolicyNotices(t.Context()); err != nil || len(n) != 1 || n[0] != all {
		t.Errorf("told is %q, %v", n, err)
	}
}

func TestACorrectionThatBringsAnAppBackWaitsForItself(t *testing.T) {
	l := newLine(t, nil)
	l.files = maps.Clone(l.files)
	was := maps.Clone(l.files)
	delete(l.files, "apps/reports.yaml")
	delete(l.files, "entitlements/reports/read.yaml")
	l.files[mainFile] = []byte(strings.NewReplacer("apps: [stripe, reports]", "apps: [stripe]", "caps: {grant: 12h", "caps: {grant: 13h").Replace(string(l.files[mainFile])))
	without := l.next()
	l.waits(without, l.clock().Add(policy.DefaultSettle))
	l.pass(policy.DefaultSettle - time.Second)
	maps.Copy(l.files, map[string][]byte{
		"apps/reports.yaml":              []byte(strings.Replace(string(was["apps/reports.yaml"]), "upstream: {url: \"", "upstream: {url: \"https://evil.acme.example\"} #", 1)),
		"entitlements/reports/read.yaml": was["entitlements/reports/read.yaml"],
		mainFile:                         []byte(strings.Replace(string(l.files[mainFile]), "apps: [stripe]", "apps: [stripe, reports]", 1)),
	})
	l.waits(l.next(), l.clock().Add(policy.DefaultSettle))
}

func TestAHoldAtAWiderCommitIsNotUndoneByTheTip(t *testing.T) {
	l := newLine(t, holders)
	l.mayHold(bob, carol)
	wide := l.commit
	narrow := l.edited(refundsFile, "max: 2h", "max: 1h")
	l.takes(narrow)
	for _, who := range []string{bob, carol} {
		if _, err := l.Hold(t.Context(), l.as(who), wide, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	l.commit = wide
	if out := l.offer(narrow); out.Waits == nil || !out.Waits.Held || l.inForce() != wide {
		t.Fatalf("what was gone back from is in force again: %+v, %s", out, l.inForce())
	}
}

func TestP4_AHoldThatSomebodyMayNotAskForAnyMoreIsNotConfirmed(t *testing.T) {
	l := newLine(t, holders)
	l.mayHold(carol)
	r := l.ask(l.as(bob), access.Ask{Entitlement: "mayfly/hold"}, access.Approved)
	if _, err := l.Hold(t.Context(), l.as(bob), l.commit, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Finish(t.Context(), l.as(bob), r.Grant); err != nil {
		t.Fatal(err)
	}
	out, err := l.Hold(t.Context(), l.as(carol), l.commit, time.Hour) // hers, that another person is to confirm
	if err != nil || !out.ConfirmedBy.IsZero() || out.ProposedBy.String() != carol {
		t.Errorf("%+v, %v", out, err)
	}
}

// What one person asks for is there for the second to confirm, whatever others ask for
// meanwhile. Whoever asked may ask for something else in its place.
func TestAWishForAHoldIsNotPutAwayBySomebodyElse(t *testing.T) {
	l := newLine(t, holders)
	l.mayHold(alice, aliceAdmin, carol)
	bobs := l.ask(l.as(bob), access.Ask{Entitlement: "mayfly/hold"}, access.Approved)
	wish := func(who string, length time.Duration) (access.HoldResult, error) {
		return l.Hold(t.Context(), l.as(who), l.commit, length)
	}
	proposes := func(who string, length time.Duration) {
		t.Helper()
		if out, err := wish(who, length); err != nil || !out.ConfirmedBy.IsZero() || out.ProposedBy.String() != who || out.Length != length {
			t.Fatalf("%s, %s: %+v, %v", who, length, out, err)
		}
	}
	proposes(alice, 2*time.Hour)
	proposes(aliceAdmin, time.Hour) // she meant another time
	_, err := wish(bob, 24*time.Hour)
	wantCode(t, err, access.CodeTooSoon)
	for _, want := range []string{aliceAdmin + " asked for a hold at " + l.commit[:12] + " for 1h0m0s", "confirm it", "after 2026-01-07T09:15:00.000000Z"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if v, err := l.PolicyStatus(t.Context(), l.as(erin)); err != nil || v.Proposed == nil || v.Proposed.Length != time.Hour {
		t.Errorf("proposed is %+v, %v", v.Proposed, err)
	}
	l.pass(15 * time.Minute)
	proposes(bob, 24*time.Hour)
	if _, err := l.Finish(t.Context(), l.as(bob), bobs.Grant); err != nil {
		t.Fatal(err)
	}
	proposes(alice, time.Hour) // nobody can confirm his any more
	if out, err := wish(carol, time.Hour); err != nil || out.ConfirmedBy.String() != carol {
		t.Errorf("the second person: %+v, %v", out, err)
	}
}

func TestTooManyCommitsDoNotWait(t *testing.T) {
	l := newLine(t, nil)
	for i := range 16 {
		l.offer(l.edited(refundsFile, fmt.Sprintf("max: %d}", 50000+i), fmt.Sprintf("max: %d}", 50001+i)))
	}
	c := l.edited(refundsFile, "max: 50016}", "max: 50017}")
	c.After = l.commit
	_, err := l.ApplyPolicy(t.Context(), c)
	var no *access.RefusedPolicy
	if !errors.As(err, &no) || no.Reason != access.ReasonManySettling {
		t.Fatal(err)
	}
	var all []string
	waiting, err := l.Settling(t.Context())
	for _, w := range waiting {
		all = append(all, w.Commit)
	}
	if err != nil || len(all) != 16 || l.WithdrawPolicy(t.Context(), all) != nil {
		t.Fatal(all, err)
	}
	l.view(func(ctx context.Context, tx access.Tx) error {
		if _, err := tx.Policies().ByDigest(ctx, waiting[0].Digest); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("the files of what waited are kept for ever: %v", err)
		}
		return nil
	})
}
