package access_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// TestP8_ManyStoredDecisionsAreMadeAgain asks, approves, denies and withdraws at random
// under one policy after another, and makes every decision that was stored again: 200 of
// them from 10 commits, and with MAYFLY_LONG=1 10,000 from 60.
func TestP8_ManyStoredDecisionsAreMadeAgain(t *testing.T) {
	decisions, commits := 200, 10
	if os.Getenv("MAYFLY_LONG") == "1" {
		decisions, commits = 10_000, 60
	}
	w := newWorld(t)
	g := &generator{world: w, r: rand.New(rand.NewPCG(20260105, 8)), files: exampleFiles(t)}
	for c := range commits {
		g.commit(c)
		for g.stored < decisions*(c+1)/commits {
			g.request()
		}
	}
	outcomes, from, made := map[string]int{}, map[string]bool{}, 0
	began := time.Now()
	for _, id := range g.ids {
		all, err := w.Rederive(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			made++
			outcomes[d.When+" "+d.Outcome+" "+d.Code]++
			from[d.Inputs.Commit] = true
			if d.Replay != access.ReplaySame {
				t.Errorf("%s at %s: %s %s: %s", id, d.When, d.Replay, d.Cause, d.Detail)
			}
		}
	}
	t.Logf("%d decisions of %d requests from %d commits made again in %s: %v", made, len(g.ids), len(from), time.Since(began).Round(time.Millisecond), outcomes)
	if made < decisions || len(from) != commits || len(outcomes) < 5 {
		t.Errorf("only %d decisions from %d commits, %d kinds: the test shows too little", made, len(from), len(outcomes))
	}
}

// generator makes requests, and policies in between.
type generator struct {
	*world
	r      *rand.Rand
	files  map[string][]byte
	ids    []grant.RequestID
	stored int // decisions
}

func (g *generator) pick(texts ...string) string { return texts[g.r.IntN(len(texts))] }

// commit puts another policy in force: other conditions, caps, steps and bounds.
func (g *generator) commit(n int) {
	g.t.Helper()
	files := map[string][]byte{}
	for name, text := range g.files {
		files[name] = text
	}
	edit := func(name string, pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(string(files[name]), pairs[i]) {
				g.t.Fatalf("%s does not say %q", name, pairs[i])
			}
		}
		files[name] = []byte(strings.NewReplacer(pairs...).Replace(string(files[name])))
	}
	edit("entitlements/reports/read.yaml", "duration('30m')", fmt.Sprintf("duration('%dm')", 5+g.r.IntN(200)), "within: 4h", fmt.Sprintf("within: %dm", 60+n),
		"when: \"", "when: \""+g.pick("", "", "requester.kind == 'user' && ", "requester.acr == 'mfa' || ", "request.params.folder.startsWith('/daily') && "))
	edit("entitlements/stripe/refunds.yaml", "max: 50000", fmt.Sprintf("max: %d", 100+g.r.IntN(50_000)), "max: 2h", fmt.Sprintf("max: %dm", 40+g.r.IntN(120)),
		"justification: text", "justification: "+g.pick("text", "none"))
	commit := fmt.Sprintf("%040x", n+2)
	if _, err := g.ApplyPolicy(g.t.Context(), access.PolicyCommit{Files: files, Commit: commit, Signer: "carol", After: g.world.commit}); err != nil {
		g.t.Fatal(err)
	}
	g.world.commit = commit
}

// request is one ask, and what people make of it.
func (g *generator) request() {
	g.t.Helper()
	g.pass(time.Duration(1+g.r.IntN(90)) * time.Second)
	who := g.as(g.pick(alice, bob, carol, erin, refunder, "spiffe://acme.example/ns/data/sa/reporter"))
	who.GroupsAt = who.GroupsAt.Add(-time.Duration(g.r.IntN(14)) * time.Minute)
	who.ACR = g.pick("", "pwd", "mfa")
	a := access.Ask{
		Entitlement: g.pick("stripe/refunds", "reports/read"), Params: map[string]string{}, Reason: g.pick("", "the parcel was lost"),
		Duration: time.Duration(g.r.IntN(12)) * 20 * time.Minute,
	}
	if g.r.IntN(4) > 0 { // mostly what they may ask for
		a.Entitlement = map[bool]string{true: "stripe/refunds", false: "reports/read"}[strings.Contains(alice+" "+refunder, who.Principal.String())]
	}
	if a.Entitlement == "stripe/refunds" {
		a.Params = map[string]string{"charge": "ch_1", "amount_max": g.pick("1", "99", "5000", "49999")}
	} else if g.r.IntN(2) == 0 {
		a.Params["folder"] = g.pick("/daily", "/monthly/2025")
	}
	r, err := g.Request(g.t.Context(), who, a)
	if code := access.CodeOf(err); code == access.CodeInvalid || code == access.CodePendingLimit {
		return // not stored
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.ids, g.stored = append(g.ids, r.ID), g.stored+1
	if r.State != access.Pending {
		return
	}
	approver := g.as(bob)
	if who.Principal == approver.Principal {
		approver = g.as(carol)
	}
	switch g.r.IntN(4) {
	case 0:
		_, err = g.Withdraw(g.t.Context(), who, r.ID)
	case 1:
		_, err = g.Deny(g.t.Context(), approver, r.ID, "")
	default:
		if _, err = g.Approve(g.t.Context(), approver, r.ID, r.OfferDigest, ""); err == nil {
			g.stored++
		}
	}
	if err != nil {
		g.t.Fatal(err)
	}
}
