package access_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// TestPlanAndReplayCosts plans and replays over a generated repository and what was asked
// for under it, by a fixed seed: small here, with MAYFLY_LONG=1 as the issue has it, and
// then within a minute.
func TestPlanAndReplayCosts(t *testing.T) {
	entitlements, requests, long := 20, 1_200, os.Getenv("MAYFLY_LONG") == "1"
	if long {
		entitlements, requests = 500, 100_000
	}
	w := newWorld(t)
	for i := range entitlements {
		w.files[fmt.Sprintf("entitlements/made/e%d.yaml", i)] = []byte(fmt.Sprintf(`entitlement: made/e%d
owner: team-data
app: reports
allow: [{operations: [http.get], where: {path: {under: $folder}}}]
params: {folder: {type: path, required: true, pattern: "/made/.*"}}
grant: {max: 8h, default: 30m}
request: {who: [group:idp/made-%d], justification: none}
approve: {auto: {when: "request.duration <= duration('1h')"}, steps: [{any: [carol], within: 1h}]}
`, i, i))
	}
	w.apply("")
	set, err := w.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := maps.Clone(w.files) // every tenth: four hours at most
	for i := 0; i < entitlements; i += 10 {
		name := fmt.Sprintf("entitlements/made/e%d.yaml", i)
		next[name] = []byte(strings.Replace(string(next[name]), "max: 8h", "max: 4h", 1))
	}
	want := w.made(set, entitlements, requests, func(e int, length time.Duration) bool { return e%10 == 0 && length > 4*time.Hour })

	began := time.Now()
	p, err := w.PlanPolicy(t.Context(), w.as(dave), next)
	if err != nil || p.Waits || len(p.Changes) != (entitlements+9)/10 {
		t.Fatalf("%d changes, %v", len(p.Changes), err)
	}
	planned := time.Since(began)
	sum, flips := w.replay(next)
	took := time.Since(began)
	t.Logf("%d entitlements, %d requests: plan %s, both %s", entitlements, requests, planned, took)
	if sum.Requests != requests || sum.Flips != want || len(flips) != want || sum.Lost != 0 {
		t.Errorf("%+v, want %d flips of %d", sum, want, requests)
	}
	again, _ := w.replay(next)
	if again.Since = sum.Since; again != sum {
		t.Errorf("once %+v, and once %+v", sum, again)
	}
	if long && took >= time.Minute {
		t.Errorf("both take %s, want under a minute", took)
	}
}

// made stores requests as they would stand after they were decided, and returns how many
// of them match.
func (w *world) made(set *policy.Set, entitlements, requests int, match func(entitlement int, length time.Duration) bool) int {
	w.t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	minter, matched := grant.NewMinter(), 0
	at := w.clock().Add(-20 * time.Hour)
	for n := 0; n < requests; {
		err := w.db.Update(w.t.Context(), func(tx access.Tx) error {
			for range 2_000 {
				if n == requests {
					return nil
				}
				n++
				e, length := random.IntN(entitlements), time.Duration(1+random.IntN(16))*30*time.Minute
				if match(e, length) {
					matched++
				}
				at = at.Add(20 * time.Hour / time.Duration(requests+1))
				if err := w.store1(w.t.Context(), tx, set, minter.NewRequestID(at), e, length, at); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return matched
}

func (w *world) store1(ctx context.Context, tx access.Tx, set *policy.Set, id grant.RequestID, e int, length time.Duration, at time.Time) error {
	who := principal(w.t, "user:idp:made-"+strconv.Itoa(e%50))
	group, err := identity.ParseGroup("group:idp/made-" + strconv.Itoa(e))
	if err != nil {
		return err
	}
	d := set.Decide(policy.Input{
		Entitlement: "made/e" + strconv.Itoa(e), Params: map[string]string{"folder": "/made/x"}, Duration: length, Beneficiary: who, Now: at,
		Requester: policy.Requester{Principal: who, Groups: []identity.Group{group}, GroupsAt: at},
	})
	one := access.BasisDecision{When: access.AtRequest, Inputs: d.Inputs, Outcome: d.Outcome.String(), Code: d.Code, Sentence: d.Sentence}
	for _, s := range d.Steps {
		one.Steps = append(one.Steps, access.BasisStep{Any: s.Any, Count: strconv.Itoa(s.Count), Within: strconv.Itoa(int(s.Within / time.Second))})
	}
	inputs, err := audit.CanonicalJSON(access.Basis{Accounts: []string{who.String()}, Decisions: []access.BasisDecision{one}})
	if err != nil {
		return err
	}
	return tx.Requests().Insert(ctx, access.Request{
		ID: id, Revision: 1, Requester: who, RequesterPerson: set.PersonOf(who), Beneficiary: who, Entitlement: d.Inputs.Entitlement, App: "reports",
		Params: d.Inputs.Params, Duration: length, State: access.Withdrawn, PolicyDigest: set.Digest(), PolicyCommit: set.Commit(), Engine: policy.EngineVersion(),
		Inputs: inputs, CreatedAt: at, DecidedAt: at,
	}, nil)
}
