package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/scope"
)

// ProofConfig configures Proofs.
type ProofConfig struct {
	// Apps are those on which only grants with a proof count. Required.
	Apps []string
	// Trust is who may sign policy, and where passkeys are used. Signers are required.
	Trust proof.Trust
	// Since is a commit that every policy must come after, or be; "" takes the first
	// one that is shown.
	Since string
	// Catalogue returns the operations of a kind of app, nil for an unknown one. Required.
	Catalogue func(kind string) *scope.Catalogue
	// File keeps, over restarts, which policies were shown and which Offers are used
	// up. Required.
	File string
	// Log is for operators; nil discards.
	Log *slog.Logger
}

// Proofs checks the proofs of grants for a Table, from this gateway's own
// configuration (docs/proof.md). The Table calls it under its lock; it has none.
type Proofs struct {
	c        ProofConfig
	book     *proofBook
	policies map[string]*proof.Policy // by resource id: <commit>/<app>
	news     map[string]bool          // commits that the message under way is the first to show
}

// maxProve is how many leaves one Ping asks for, and maxPolicies how many proofs of
// policies are held between snapshots.
const (
	maxProve    = 64
	maxPolicies = 256
)

// OpenProofs checks c and reads its file.
func OpenProofs(c ProofConfig) (*Proofs, error) {
	switch {
	case len(c.Apps) == 0 || len(c.Trust.Signers) == 0:
		return nil, errors.New("proofs: want apps, and who signs policy")
	case c.Catalogue == nil || c.File == "":
		return nil, errors.New("proofs: Catalogue and File are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	book, err := openProofBook(c.File)
	if err != nil {
		return nil, err
	}
	return &Proofs{c: c, book: book, policies: map[string]*proof.Policy{}, news: map[string]bool{}}, nil
}

// begin is called before what one message tells is taken in. A snapshot has all
// policies that count; those from before it are forgotten.
func (p *Proofs) begin(snapshot bool) {
	if p == nil {
		return
	}
	clear(p.news)
	if snapshot {
		clear(p.policies)
	}
}

// wants reports whether only proven grants count on an app. A nil Proofs wants none.
func (p *Proofs) wants(app string) bool { return p != nil && slices.Contains(p.c.Apps, app) }

// learn takes in what proves the policy of a commit. It is refused if nobody who is
// trusted signed it, or if it does not come after what is known to be newer.
func (p *Proofs) learn(r *feed.Resource, at feed.Position) error {
	m := r.GetProof()
	if r.GetId() != m.GetCommit()+"/"+m.GetApp() {
		return fmt.Errorf("the proof of %.64q under another id", m.GetCommit())
	}
	policy, err := p.c.Trust.Read(m.GetCommit(), proof.Objects{Commits: m.GetCommits(), Trees: m.GetTrees(), Blobs: m.GetBlobs()})
	if err != nil {
		return err
	}
	if p.c.Since != "" && !policy.Descends(p.c.Since) {
		return fmt.Errorf("commit %.12s is not shown to come after %.12s, from which on policy is taken", policy.Commit(), p.c.Since)
	}
	if err := p.place(policy, at); err != nil {
		return err
	}
	if len(p.policies) >= maxPolicies {
		p.forget()
	}
	if len(p.policies) >= maxPolicies {
		return errors.New("too many policies")
	}
	p.policies[r.GetId()] = policy
	return nil
}

// forget drops the policies that newer ones replaced in an earlier message: no grant
// that was not seen already counts under them.
func (p *Proofs) forget() {
	newest, _ := p.book.newest()
	maps.DeleteFunc(p.policies, func(_ string, policy *proof.Policy) bool {
		replaced, by, _ := p.until(policy.Commit())
		return policy.Commit() != newest.Commit && replaced != (feed.Position{}) && !p.news[by]
	})
}

// place notes a policy that comes after all that were shown before. An older one is
// taken only if what is newest comes after it; see until.
func (p *Proofs) place(policy *proof.Policy, at feed.Position) error {
	newest, ok := p.book.newest()
	switch {
	case !ok || newest.Commit != policy.Commit() && policy.Descends(newest.Commit):
		if err := p.book.add(policy.Commit(), at); err != nil {
			return err
		}
		p.news[policy.Commit()] = true
		return nil
	case newest.Commit == policy.Commit() || p.book.has(policy.Commit()):
		return nil
	}
	if _, _, known := p.until(policy.Commit()); !known {
		return fmt.Errorf("commit %.12s is not shown to come after %.12s, which was shown before", policy.Commit(), newest.Commit)
	}
	return nil
}

// until returns the position at which a policy was no longer the newest, and the
// commit that took its place, as far as this gateway knows: no grant that was
// recorded then or later is of it. The zero position is that of the newest one, which
// has no such end. known is false for a policy that stands in no order with those
// that were shown.
func (p *Proofs) until(commit string) (end feed.Position, by string, known bool) {
	if newest, ok := p.book.newest(); ok && newest.Commit == commit {
		return feed.Position{}, "", true
	}
	for i, e := range p.book.Policies {
		if e.Commit == commit {
			next := p.book.Policies[i+1]
			return next.at(), next.Commit, true
		}
	}
	for _, e := range p.book.Policies {
		if p.descends(e.Commit, commit) {
			return e.at(), e.Commit, true
		}
	}
	return feed.Position{}, "", false
}

// timely reports, as nil, that a grant was made while its policy was the newest. The
// leaf's place in the record says so, and is the word of whoever keeps the record:
// what such a policy is to have allowed must besides have been told before the newer
// one was, or together with it.
func (p *Proofs) timely(leaf feed.Position, commit, offer string) error {
	end, by, known := p.until(commit)
	switch {
	case known && end == feed.Position{}:
		return nil
	case !known || !leaf.Before(end):
		return fmt.Errorf("it was recorded when a newer policy than commit %.12s was in force", commit)
	case !p.news[by] && !p.book.used(offer):
		return fmt.Errorf("this gateway was told of a newer policy than commit %.12s before it was told of this grant", commit)
	}
	return nil
}

// descends reports whether a commit whose proof is held is shown to come after another.
func (p *Proofs) descends(commit, older string) bool {
	for _, policy := range p.policies {
		if policy.Commit() == commit && policy.Descends(older) {
			return true
		}
	}
	return false
}

// judge reports, as nil, that g is proven but for its leaf, which the caller then
// waits for. The Offer is used up by it, durably.
func (p *Proofs) judge(d *draft, g grant.Grant, m *feed.Grant) error {
	recorded := m.GetRecorded()
	if recorded == nil {
		return errors.New("it carries no proof, and only proven grants count here")
	}
	policy, ok := p.policies[recorded.GetCommit()+"/"+g.Scope.App]
	if !ok {
		return fmt.Errorf("the policy of commit %.12s is not proven here", recorded.GetCommit())
	}
	leaf := feed.Position{Epoch: d.at.Epoch, Revision: recorded.GetIndex()}
	if err := p.timely(leaf, policy.Commit(), audit.SHA256(m.GetOffer()).String()); err != nil {
		return err
	}
	app, ok := d.apps[g.Scope.App]
	if !ok {
		return fmt.Errorf("no app %s is held", g.Scope.App)
	}
	claim := proof.Claim{
		Grant: g, Params: m.GetParams(), Catalogue: m.GetCatalogue(), Offer: m.GetOffer(),
		Leaf: recorded.GetLeaf(), Index: recorded.GetIndex(), Operations: p.c.Catalogue(app.Kind),
	}
	for _, a := range m.GetApprovals() {
		s, err := proof.ParseSignature(a.GetSignature())
		if err != nil {
			return err
		}
		claim.Approvals = append(claim.Approvals, proof.Approval{Person: a.GetPerson(), Step: int(a.GetStep()), Signature: s})
	}
	proven, err := policy.Check(claim)
	if err != nil {
		return err
	}
	return p.book.use(offerUse{
		Offer: audit.Hash(proven.Offer).String(), Grant: g.ID.String(), Leaf: audit.SHA256(recorded.GetLeaf()).String(), App: g.Scope.App, Until: proven.Until,
	}, d.now)
}

// pendingLeaf is where a grant must be shown to stand in the record.
type pendingLeaf struct {
	index int64
	leaf  []byte
}

// shown reports, as nil, that the leaf stands in a checkpoint.
func (l *pendingLeaf) shown(c audit.Checkpoint, path [][]byte) error {
	hashes := make([]audit.Hash, len(path))
	for i, b := range path {
		if len(b) != len(audit.Hash{}) {
			return errors.New("a hash of another length")
		}
		hashes[i] = audit.Hash(b)
	}
	return audit.CheckLeaf(hashes, c, l.index, l.leaf)
}
