package proxy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
	"github.com/mayflyproxy/mayfly/scope"
)

// proving is a gateway that counts only proven grants on the app reports, told by a
// mayflyd whose database a test writes to: its record takes whatever it is given.
type proving struct {
	*memory
	git    *prooftest.World
	signer *audit.Signer
	file   string
	record *audit.Verifier
	config ProofConfig
	hashes []tlog.Hash // of the record
	size   int64
}

func newProving(t *testing.T) *proving {
	t.Helper()
	p := &proving{memory: newMemory(t), git: prooftest.New(t), file: filepath.Join(t.TempDir(), "proofs")}
	p.signer, p.record = audittest.NewKey(t)
	p.config = ProofConfig{
		Apps: []string{"reports"}, Trust: p.git.Trust(t), File: p.file,
		Catalogue: func(string) *scope.Catalogue { return prooftest.Catalogue() },
	}
	p.leaf([]byte("the first leaf"))
	p.restart()
	return p
}

// restart starts the gateway again over what it kept on disk.
func (p *proving) restart() {
	p.t.Helper()
	proofs, err := OpenProofs(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	witness, err := OpenWitness(WitnessConfig{Record: p.record, File: p.file + ".checkpoint"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.Table = p.open(nil)
	p.Table.proofs, p.Table.witness = proofs, witness
	p.at = feed.Position{Epoch: 1, Revision: max(p.size, p.at.Revision)}
}

// leaf appends to the record, and returns where.
func (p *proving) leaf(b []byte) int64 {
	p.t.Helper()
	hashes, err := tlog.StoredHashes(p.size, b, p.reader())
	if err != nil {
		p.t.Fatal(err)
	}
	p.hashes = append(p.hashes, hashes...)
	p.size++
	return p.size - 1
}

func (p *proving) reader() tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = p.hashes[n]
		}
		return out, nil
	}
}

func reportsApp() *feed.Resource {
	return &feed.Resource{Id: "reports", MinReader: 1, Resource: &feed.Resource_App{App: &feed.App{
		Name: "reports", Kind: "web", Hosts: []string{"reports.acme.example"}, Upstream: "https://reports.internal.acme.example", StaleAfterUs: (15 * time.Second).Microseconds(),
	}}}
}

// policy is what proves a commit.
func (p *proving) policy(commit string) *feed.Resource {
	o := p.git.Objects(p.t, commit)
	return &feed.Resource{Id: commit + "/reports", MinReader: 3, Resource: &feed.Resource_Proof{Proof: &feed.Proof{
		Commit: commit, App: "reports", Commits: o.Commits, Trees: o.Trees, Blobs: o.Blobs,
	}}}
}

// grantOf is a grant of alice from now, its Offer signed, on the record.
func (p *proving) grantOf(g grant.Grant, offer []byte, commit string) *feed.Resource {
	p.t.Helper()
	c := p.git.ClaimOf(p.t, g, offer)
	index := p.leaf(prooftest.Encode(p.t, prooftest.Leaf(g, offer, p.size)))
	m := &feed.Grant{
		Request: g.Request.String(), Principal: g.Principal.String(), Pseudonym: g.Pseudonym, App: g.Scope.App, Entitlement: g.Entitlement,
		NotBeforeUs: g.NotBefore.UnixMicro(), NotAfterUs: g.NotAfter.UnixMicro(), Class: g.Class.String(), Catalogue: c.Catalogue, Params: c.Params,
		Offer: offer, Recorded: &feed.Recorded{Index: index, Leaf: prooftest.Encode(p.t, prooftest.Leaf(g, offer, index)), Commit: commit},
	}
	for _, r := range g.Scope.Rules {
		rule := &feed.Rule{Operation: r.Operation}
		for _, k := range r.Where {
			rule.Where = append(rule.Where, &feed.Constraint{Attribute: k.Attribute, Op: string(k.Comparison), Values: []*feed.Value{{Type: k.Values[0].Type().String(), Value: k.Values[0].String()}}})
		}
		m.Rules = append(m.Rules, rule)
	}
	for _, a := range c.Approvals {
		b, err := a.Signature.Encode()
		if err != nil {
			p.t.Fatal(err)
		}
		m.Approvals = append(m.Approvals, &feed.Approval{Person: a.Person, Step: int32(a.Step), Signature: b})
	}
	return &feed.Resource{Id: g.ID.String(), MinReader: 3, Resource: &feed.Resource_Grant{Grant: m}}
}

// good is a new proven grant, and its resource.
func (p *proving) good() (grant.Grant, *feed.Resource) {
	p.t.Helper()
	p.git.Now = start()
	g := p.git.Grant(p.t)
	return g, p.grantOf(g, prooftest.Encode(p.t, p.git.Offer(p.t, g)), p.git.Tip(p.t))
}

// beat answers a Ping as mayflyd does: with a checkpoint, and the leaves asked for.
func (p *proving) beat() {
	p.t.Helper()
	ping := &feed.Ping{}
	p.Describe(ping)
	root, err := tlog.TreeHash(p.size, p.reader())
	if err != nil {
		p.t.Fatal(err)
	}
	note, err := p.signer.Sign(p.size, audit.Hash(root))
	if err != nil {
		p.t.Fatal(err)
	}
	pong := &feed.Pong{Epoch: p.at.Epoch, Head: p.at.Revision, TimeUs: start().Add(time.Minute).UnixMicro(), Checkpoint: note}
	for _, index := range ping.GetProve() {
		if index >= p.size {
			continue
		}
		path, err := tlog.ProveRecord(p.size, index, p.reader())
		if err != nil {
			p.t.Fatal(err)
		}
		l := &feed.LeafProof{Index: index}
		for _, h := range path {
			l.Path = append(l.Path, h[:])
		}
		pong.Leaves = append(pong.Leaves, l)
	}
	if old := ping.GetCheckpointSize(); old > 0 && old < p.size {
		path, err := tlog.ProveTree(p.size, old, p.reader())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, h := range path {
			pong.Consistency = append(pong.Consistency, h[:])
		}
	}
	if p.Extends(ping.GetCheckpoint(), pong) != nil {
		return
	}
	if err := p.Ponged(p.machine.now(), pong); err != nil {
		p.t.Fatal(err)
	}
}

func start() time.Time { return time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC) }

// reason is why a grant does not count, "" if it does.
func (p *proving) reason(id grant.GrantID) grant.Reason {
	if err := p.Look(id, p.Now()); err != nil {
		return grant.Of(err).Reason
	}
	return ""
}

// refusedAs fails unless what was told is refused as unproven, in these words.
func (p *proving) refusedAs(nacks []*feed.Nack, id grant.GrantID, words string) {
	p.t.Helper()
	if len(nacks) != 1 || nacks[0].GetReason() != "grant_unproven" || !strings.Contains(nacks[0].GetDetail(), words) {
		p.t.Errorf("want a refusal with %q, got %v", words, nacks)
	}
	p.beat()
	if got := p.reason(id); got != grant.GrantUnproven {
		p.t.Errorf("requests get %q, want grant_unproven", got)
	}
}

// TestP6_OnlyProvenGrantsCount: the good one counts once its leaf is shown.
func TestP6_OnlyProvenGrantsCount(t *testing.T) {
	p := newProving(t)
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	g, r := p.good()
	p.beat()
	if nacks := p.add(r); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	if got := p.reason(g.ID); got != grant.GrantUnproven {
		t.Errorf("before its leaf is shown requests get %q", got)
	}
	p.beat()
	if got := p.reason(g.ID); got != "" {
		t.Errorf("once its leaf is shown requests get %q", got)
	}
	_, nacks := p.swap(reportsApp(), p.policy(p.git.Tip(t)), r) // a snapshot tells it again: no gap
	if got := p.reason(g.ID); got != "" || len(nacks) > 0 {
		t.Errorf("after a snapshot requests get %q, %v", got, nacks)
	}
}

// TestTheInsertedGrant: a row of grants that somebody wrote by hand.
func TestTheInsertedGrant(t *testing.T) {
	for name, spoil := range map[string]func(*feed.Grant){
		"a row alone":             func(g *feed.Grant) { g.Offer, g.Approvals, g.Recorded = nil, nil, nil },
		"with an offer":           func(g *feed.Grant) { g.Approvals, g.Recorded = nil, nil },
		"without approvals":       func(g *feed.Grant) { g.Approvals = nil },
		"with empty approvals":    func(g *feed.Grant) { g.Approvals[0].Signature = nil },
		"with spoilt approvals":   func(g *feed.Grant) { g.Approvals[0].Signature = []byte("{}") },
		"longer than approved":    func(g *feed.Grant) { g.NotAfterUs += 1_000_000 },
		"of a policy not told of": func(g *feed.Grant) { g.Recorded.Commit = strings.Repeat("0", 40) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProving(t)
			p.swap(reportsApp(), p.policy(p.git.Tip(t)))
			g, r := p.good()
			spoil(r.GetGrant())
			p.refusedAs(p.add(r), g.ID, "")
		})
	}
}

// TestNotOnTheRecord: a good proof whose leaf is in no checkpoint, or another leaf is
// in its place.
func TestNotOnTheRecord(t *testing.T) {
	p := newProving(t)
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	g, r := p.good()
	p.hashes, p.size = p.hashes[:tlog.StoredHashCount(p.size-1)], p.size-1 // the leaf was never there
	p.add(r)
	p.beat()
	if got := p.reason(g.ID); got != grant.GrantUnproven {
		t.Errorf("without its leaf requests get %q", got)
	}
	p.leaf([]byte("another leaf in its place"))
	p.beat()
	if got := p.reason(g.ID); got != grant.GrantUnproven {
		t.Errorf("with another leaf in its place requests get %q", got)
	}
	if len(p.alarmed()) == 0 {
		t.Error("nobody was alarmed")
	}
}

// TestAnothersCheckpoint: one that the configured key did not sign shows nothing.
func TestAnothersCheckpoint(t *testing.T) {
	p := newProving(t)
	p.signer, _ = audittest.NewKey(t)
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	g, r := p.good()
	p.add(r)
	p.beat()
	if got := p.reason(g.ID); got != grant.Stale || len(p.alarmed()) == 0 {
		t.Errorf("requests get %q, alarms %v", got, p.alarmed())
	}
}

// TestAnOfferCountsOnce: a second grant on the approvals of another, with a leaf of
// its own; after a restart too, and not even the same one once it was revoked.
func TestAnOfferCountsOnce(t *testing.T) {
	p := newProving(t)
	policy := p.policy(p.git.Tip(t))
	p.swap(reportsApp(), policy)
	g, first := p.good()
	p.add(first)
	p.beat()
	twin := g
	twin.ID = p.git.Grant(t).ID
	twin.NotBefore, twin.NotAfter = g.NotBefore.Add(10*time.Minute), g.NotAfter.Add(10*time.Minute)
	second := p.grantOf(twin, first.GetGrant().GetOffer(), p.git.Tip(t))
	p.refusedAs(p.add(second), twin.ID, "was used by "+g.ID.String())

	p.restart()
	_, nacks := p.swap(reportsApp(), policy, second)
	p.refusedAs(nacks, twin.ID, "was used by "+g.ID.String())
}

// TestAGrantIsNotMadeLonger: its row gets later times before it ends, with a leaf for
// them, as often as the offer's start_by allows; and after a restart.
func TestAGrantIsNotMadeLonger(t *testing.T) {
	p := newProving(t)
	policy := p.policy(p.git.Tip(t))
	p.swap(reportsApp(), policy)
	g, first := p.good()
	p.add(first)
	p.beat()
	g.NotBefore, g.NotAfter = g.NotBefore.Add(10*time.Minute), g.NotAfter.Add(10*time.Minute)
	longer := p.grantOf(g, first.GetGrant().GetOffer(), p.git.Tip(t))
	p.refusedAs(p.add(longer), g.ID, "with other times")

	p.restart()
	_, nacks := p.swap(reportsApp(), policy, longer)
	p.refusedAs(nacks, g.ID, "with other times")
}

// TestTheRevokedGrantStaysRevoked: the mark of its revocation is taken out of the
// database, while the gateway runs and while it does not.
func TestTheRevokedGrantStaysRevoked(t *testing.T) {
	for name, revoke := range map[string]func(*proving, *feed.Resource, grant.GrantID){
		"by a change": func(p *proving, _ *feed.Resource, id grant.GrantID) {
			p.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id.String(), Reason: "revoked"}}})
		},
		"by a snapshot": func(p *proving, policy *feed.Resource, _ grant.GrantID) { p.swap(reportsApp(), policy) },
		"while it was down": func(p *proving, policy *feed.Resource, _ grant.GrantID) {
			p.restart()
			p.swap(reportsApp(), policy)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProving(t)
			policy := p.policy(p.git.Tip(t))
			p.swap(reportsApp(), policy)
			g, r := p.good()
			p.add(r)
			p.beat()
			revoke(p, policy, g.ID)
			p.refusedAs(p.add(r), g.ID, "has ended before")
			p.restart()
			_, nacks := p.swap(reportsApp(), policy, r)
			p.refusedAs(nacks, g.ID, "has ended before")
		})
	}
}

// TestAnAppThatIsGoneForAWhile is no end of its grants.
func TestAnAppThatIsGoneForAWhile(t *testing.T) {
	p := newProving(t)
	policy := p.policy(p.git.Tip(t))
	p.swap(reportsApp(), policy)
	g, r := p.good()
	p.add(r)
	p.swap()
	_, nacks := p.swap(reportsApp(), policy, r)
	p.beat()
	if got := p.reason(g.ID); got != "" || len(nacks) > 0 {
		t.Errorf("requests get %q, %v", got, nacks)
	}
}

// TestARemovedKeyApprovesNothingMore: policy took bob's key away. Whoever holds it
// and writes the database offers the older commit again, where it still stood.
func TestARemovedKeyApprovesNothingMore(t *testing.T) {
	p := newProving(t)
	old := p.git.Tip(t)
	oldPolicy := p.policy(old)
	p.swap(reportsApp(), oldPolicy)
	kept, keptResource := p.good()
	p.add(keptResource)
	p.beat()

	files := p.git.Files(t)
	p.git.Commit(t, map[string]string{"mayfly.yaml": strings.Replace(files["mayfly.yaml"], p.git.PublicKey(t, prooftest.Approver), p.git.PublicKey(t, prooftest.Signer), 1)})
	newer := p.git.Tip(t)
	p.leaf([]byte("policy.applied"))
	if nacks := p.add(p.policy(newer)); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	for p.size <= p.at.Revision {
		p.leaf([]byte("more"))
	}
	forged := p.git.Grant(t)
	offer := p.git.Offer(t, forged)
	offer["policy"].(map[string]any)["commit"] = old
	r := p.grantOf(forged, prooftest.Encode(t, offer), old)
	p.refusedAs(p.add(r), forged.ID, "a newer policy")
	if got := p.reason(kept.ID); got != "" {
		t.Errorf("the grant from before gets %q", got)
	}

	p.restart() // and after a restart, with the older policy alone, or both
	_, nacks := p.swap(reportsApp(), oldPolicy, keptResource, r)
	p.refusedAs(nacks, forged.ID, "a newer policy")
	p.restart()
	_, nacks = p.swap(reportsApp(), p.policy(newer), oldPolicy, keptResource, r)
	p.refusedAs(nacks, forged.ID, "a newer policy")
	if got := p.reason(kept.ID); got != "" {
		t.Errorf("the grant from before gets %q", got)
	}
}

// TestAGrantFromAfterThePolicyThatCameWithIt: what is told in one message with the
// newer policy still was recorded before that policy, or it is not of the older one.
func TestAGrantFromAfterThePolicyThatCameWithIt(t *testing.T) {
	p := newProving(t)
	old := p.git.Tip(t)
	p.swap(reportsApp(), p.policy(old))
	newer := p.policy(p.git.Commit(t, map[string]string{"README.md": "prose\n"}))
	for p.size <= p.at.Revision+1 {
		p.leaf([]byte("more"))
	}
	forged := p.git.Grant(t)
	offer := p.git.Offer(t, forged)
	offer["policy"].(map[string]any)["commit"] = old
	r := p.grantOf(forged, prooftest.Encode(t, offer), old)
	p.refusedAs(p.add(newer, r), forged.ID, "a newer policy")
}

// TestAnOldPolicyAllowsNothingNew: whoever owns the record's key, too, cannot say that
// a grant was recorded before a newer policy came: this gateway was not told of it then.
func TestAnOldPolicyAllowsNothingNew(t *testing.T) {
	p := newProving(t)
	old := p.git.Tip(t)
	oldPolicy := p.policy(old)
	p.swap(reportsApp(), oldPolicy)
	forged, r := p.good() // its leaf is in the record, before the newer policy
	newer := p.policy(p.git.Commit(t, map[string]string{"README.md": "prose\n"}))
	p.at.Revision = 1 << 40
	if nacks := p.add(newer); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	p.refusedAs(p.add(r), forged.ID, "before it was told of this grant")
	_, nacks := p.swap(reportsApp(), newer, oldPolicy, r)
	p.refusedAs(nacks, forged.ID, "before it was told of this grant")

	third := p.policy(p.git.Commit(t, map[string]string{"README.md": "more prose\n"}))
	_, nacks = p.swap(reportsApp(), third, newer, oldPolicy, r)
	p.refusedAs(nacks, forged.ID, "before it was told of this grant")
	p.restart()
	_, nacks = p.swap(reportsApp(), third, newer, oldPolicy, r)
	p.refusedAs(nacks, forged.ID, "before it was told of this grant")

	p.config.File += "-of-a-new-gateway" // which is told of all at once
	p.restart()
	if _, nacks = p.swap(reportsApp(), oldPolicy, newer, third, r); len(nacks) > 0 {
		t.Errorf("a new gateway refuses %v", nacks)
	}
}

// TestManyPolicies: a gateway that hears of one commit after the other, for months and
// without a snapshot, goes on taking them.
func TestManyPolicies(t *testing.T) {
	p := newProving(t)
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	for range 3 {
		old := p.git.Tip(t)
		next := p.policy(p.git.Commit(t, map[string]string{"README.md": old + "\n"}))
		if nacks := p.add(next); len(nacks) > 0 {
			t.Fatal(nacks)
		}
		held := p.proofs.policies
		for i := 0; len(held) < maxPolicies; i++ {
			held[old+"/"+strconv.Itoa(i)] = held[old+"/reports"]
		}
	}
	g, r := p.good()
	if nacks := p.add(r); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	p.beat()
	if got := p.reason(g.ID); got != "" {
		t.Errorf("requests get %q", got)
	}
}

// TestABranchBesideWhatIsNewest: a commit that is signed, but does not come after
// what the gateway was shown.
func TestABranchBesideWhatIsNewest(t *testing.T) {
	p := newProving(t)
	side := prooftest.New(t) // another history, whose signer the gateway trusts too
	p.config.Trust.Signers = append(p.config.Trust.Signers, side.Trust(t).Signers...)
	p.restart()
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	mine := p.git
	p.git = side
	nacks := p.add(p.policy(side.Tip(t)))
	if len(nacks) != 1 || !strings.Contains(nacks[0].GetDetail(), "not shown to come after") {
		t.Errorf("another history was taken: %v", nacks)
	}
	g, r := p.good()
	p.refusedAs(p.add(r), g.ID, "is not proven here")
	p.git = mine
}

// TestSince: before anything was shown, the configuration may say from where on.
func TestSince(t *testing.T) {
	p := newProving(t)
	old := p.policy(p.git.Tip(t))
	p.config.Since = p.git.Commit(t, map[string]string{"README.md": "prose\n"})
	p.restart()
	_, nacks := p.swap(reportsApp(), old)
	if len(nacks) != 1 || !strings.Contains(nacks[0].GetDetail(), "from which on policy is taken") {
		t.Errorf("an older policy was taken: %v", nacks)
	}
}

// TestProofsThatCannotBeKept: what is not on disk does not count.
func TestProofsThatCannotBeKept(t *testing.T) {
	p := newProving(t)
	p.swap(reportsApp(), p.policy(p.git.Tip(t)))
	if err := os.RemoveAll(filepath.Dir(p.file)); err != nil {
		t.Fatal(err)
	}
	g, r := p.good()
	p.refusedAs(p.add(r), g.ID, "write the proofs")
}

// TestOtherAppsNeedNoProof of what nobody asked for.
func TestOtherAppsNeedNoProof(t *testing.T) {
	p := newProving(t)
	p.config.Apps = []string{"stripe"}
	p.restart()
	p.swap(reportsApp())
	g, r := p.good()
	r.GetGrant().Approvals = nil
	if nacks := p.add(r); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	p.beat()
	if got := p.reason(g.ID); got != "" {
		t.Errorf("requests get %q", got)
	}
}

// TestProofsFileThatIsDamaged: a gateway that forgot which Offers are used up does
// not start as if none were.
func TestProofsFileThatIsDamaged(t *testing.T) {
	p := newProving(t)
	if err := os.WriteFile(p.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenProofs(p.config); err == nil {
		t.Error("it was opened")
	}
}
