package access

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

const (
	maxLineage = 256     // commits that one proof shows
	maxProof   = 2 << 20 // bytes: a message of the feed holds twice that
	lineOnly   = ""      // the app of a stored line of commits
)

// ProofStore keeps what proves the policy of a commit to gateways. It is not
// believed: they check it.
type ProofStore interface {
	// Put keeps body for the gateways of an app; a second Put changes nothing.
	Put(ctx context.Context, commit, app string, body []byte) error
	Get(ctx context.Context, commit, app string) ([]byte, error) // ErrNotFound
}

// ProvePolicy keeps what proves the commit in force, for one that entered into force
// before proofs were kept. Any other commit is let be.
func (s *Service) ProvePolicy(ctx context.Context, commit string, objects proof.Objects) error {
	return s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil || set.Commit() != commit {
			return err
		}
		if _, err := w.tx.Proofs().Get(ctx, commit, lineOnly); !errors.Is(err, ErrNotFound) {
			return err
		}
		return w.keepProof(ctx, set, objects)
	})
}

// keepProof stores, for each app with a signed entitlement, what proves set.
func (w *work) keepProof(ctx context.Context, set *policy.Set, o proof.Objects) error {
	if len(o.Commits) == 0 {
		return nil // not signed, or by a mayflyd that knew none
	}
	commits, err := w.lineage(ctx, o.Commits)
	if err != nil {
		return err
	}
	if err := w.putProof(ctx, lineOnly, &feed.Proof{Commit: set.Commit(), Commits: commits}); err != nil {
		return err
	}
	for _, a := range set.Apps() {
		files := signedFiles(set, a.Name)
		if len(files) == 0 {
			continue
		}
		body := &feed.Proof{Commit: set.Commit(), App: a.Name, Commits: commits, Trees: o.Trees}
		for _, name := range files {
			body.Blobs = append(body.Blobs, set.Files()[name])
		}
		if err := w.putProof(ctx, a.Name, body); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) putProof(ctx context.Context, app string, body *feed.Proof) error {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return fmt.Errorf("proof of %s: %w", body.GetCommit(), err)
	}
	if len(raw) > maxProof {
		w.log.WarnContext(ctx, "the proof of a policy is too large to be told: gateways that want proofs will refuse grants",
			"commit", body.GetCommit(), "app", app, "bytes", len(raw))
		return nil
	}
	return w.tx.Proofs().Put(ctx, body.GetCommit(), app, raw)
}

// lineage goes on from the last of commits with what was kept of it, so that a
// gateway that missed policies is shown how the newest one descends from what it knew.
func (w *work) lineage(ctx context.Context, commits [][]byte) ([][]byte, error) {
	last, err := proof.Name("commit", commits[len(commits)-1])
	if err != nil {
		return nil, err
	}
	if len(commits) > 1 {
		raw, err := w.tx.Proofs().Get(ctx, last, lineOnly)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		var before feed.Proof
		if err := proto.Unmarshal(raw, &before); err != nil {
			return nil, fmt.Errorf("proof of %s: %w", last, err)
		}
		if len(before.GetCommits()) > 1 {
			commits = append(slices.Clone(commits), before.GetCommits()[1:]...)
		}
	}
	return commits[:min(len(commits), maxLineage)], nil
}

// signedFiles lists the files that say who approves on an app by signature; none if
// nobody does.
func signedFiles(set *policy.Set, app string) []string {
	var out []string
	for _, e := range set.Entitlements() {
		if e.App == app && e.Signed {
			out = append(out, path.Clean(e.File))
		}
	}
	if len(out) > 0 {
		out = append(out, "mayfly.yaml")
	}
	return out
}

// proofResource returns what proves a commit to the gateways of an app, nil if
// nothing is kept.
func proofResource(ctx context.Context, tx Tx, commit, app string) (*feed.Resource, error) {
	if commit == "" {
		return nil, nil
	}
	raw, err := tx.Proofs().Get(ctx, commit, app)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body := &feed.Proof{}
	if err := proto.Unmarshal(raw, body); err != nil {
		return nil, fmt.Errorf("proof of %s: %w", commit, err)
	}
	return &feed.Resource{Id: commit + "/" + app, MinReader: minReaderProof, Resource: &feed.Resource_Proof{Proof: body}}, nil
}

// isSigned reports whether a request is approved by signatures.
func (r Request) isSigned() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Signed })
}

// prove adds to the resource of a grant what it was approved by. It returns the
// commit whose proof goes before it.
func prove(ctx context.Context, tx Tx, r Request, id grant.GrantID, into *feed.Resource) (commit string, err error) {
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return "", err
	}
	offer, err := tx.Requests().Offer(ctx, r.Offer)
	if err != nil {
		return "", fmt.Errorf("offer of %s: %w", r.ID, err)
	}
	index, leaf, err := createdLeaf(ctx, tx, id)
	if err != nil {
		return "", err
	}
	said, err := tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return "", fmt.Errorf("approvals of %s: %w", r.ID, err)
	}
	commit = basis.Decisions[len(basis.Decisions)-1].Inputs.Commit
	g := into.GetGrant()
	g.Offer, g.Recorded = offer, &feed.Recorded{Index: index, Leaf: leaf, Commit: commit}
	for _, a := range said {
		if a.Revision != r.Revision || !a.Approves {
			continue
		}
		signature, err := a.Signature.Encode()
		if err != nil {
			return "", err
		}
		g.Approvals = append(g.Approvals, &feed.Approval{Person: a.Person.String(), Step: int32(a.Step), Signature: signature})
	}
	into.MinReader = minReaderProof
	return commit, nil
}

// createdLeaf finds the record that a grant was made.
func createdLeaf(ctx context.Context, tx Tx, id grant.GrantID) (int64, []byte, error) {
	places, err := tx.Spools().Find(ctx, id.String())
	if err != nil {
		return 0, nil, fmt.Errorf("record of %s: %w", id, err)
	}
	for _, p := range places {
		if p.Spool != "" {
			continue
		}
		leaves, err := tx.Log().ReadLeaves(ctx, int64(p.Seq), int64(p.Seq)+1)
		if err != nil || len(leaves) != 1 {
			return 0, nil, fmt.Errorf("leaf %d: %w", p.Seq, err)
		}
		if r, err := audit.Decode(leaves[0]); err == nil && r.Type == audit.TypeGrantCreated {
			return int64(p.Seq), leaves[0], nil
		}
	}
	return 0, nil, fmt.Errorf("grant %s is not on the record", id)
}

// putGrant puts a new grant on the feed, with its proof if it was approved by
// signatures.
func (w *work) putGrant(ctx context.Context, r Request, g grant.Grant, params map[string]string, catalogue string) error {
	out := grantResource(g, params, catalogue)
	if r.isSigned() {
		if _, err := prove(ctx, w.tx, r, g.ID, out); err != nil {
			return err
		}
	}
	w.put(g.Scope.App, out)
	return nil
}

// fed are the proofs that a snapshot holds already.
type fed map[string]bool

// add appends the proof of a commit for an app, once.
func (f fed) add(ctx context.Context, tx Tx, commit, app string, out []*feed.Resource) ([]*feed.Resource, error) {
	if f[commit+"/"+app] {
		return out, nil
	}
	f[commit+"/"+app] = true
	r, err := proofResource(ctx, tx, commit, app)
	if err != nil || r == nil {
		return out, err
	}
	return append(out, r), nil
}

// proveLive adds to the resource of a live grant its proof, and before it that of the
// policy, if policy has it approved by signatures. One whose proof is gone, such as
// with the erased words of an Offer, goes without: gateways that want it refuse it.
func (s *Service) proveLive(ctx context.Context, tx Tx, set *policy.Set, g grant.Grant, into *feed.Resource, told fed, out []*feed.Resource) ([]*feed.Resource, error) {
	e, ok := set.Entitlement(g.Entitlement)
	if !ok || !e.Signed || g.Request.IsZero() {
		return append(out, into), nil
	}
	r, err := tx.Requests().Get(ctx, g.Request)
	if errors.Is(err, ErrNotFound) {
		return append(out, into), nil
	}
	if err != nil {
		return out, fmt.Errorf("request of %s: %w", g.ID, err)
	}
	if !r.isSigned() {
		return append(out, into), nil
	}
	commit, err := prove(ctx, tx, r, g.ID, into)
	if err != nil {
		s.log.WarnContext(ctx, "a grant goes without its proof", "grant", g.ID.String(), "error", err)
		return append(out, into), nil
	}
	if out, err = told.add(ctx, tx, commit, g.Scope.App, out); err != nil {
		return out, err
	}
	return append(out, into), nil
}

// maxProve bounds how many leaves one Ping is shown.
const maxProve = 64

// showLeaves proves to each instance the leaves that it asked for, in the tree of a
// signed checkpoint. What is not there is left out.
func (s Source) showLeaves(ctx context.Context, beats []feed.Beat, size int64) (map[feed.Instance][]*feed.LeafProof, error) {
	out := map[feed.Instance][]*feed.LeafProof{}
	if !slices.ContainsFunc(beats, func(b feed.Beat) bool { return len(b.Ping.GetProve()) > 0 }) {
		return out, nil
	}
	err := s.store.View(ctx, func(tx Tx) error {
		clear(out)
		for _, b := range beats {
			asked := b.Ping.GetProve()
			for _, index := range asked[:min(len(asked), maxProve)] {
				if index < 0 || index >= size {
					continue
				}
				path, err := audit.ProveLeaf(ctx, tx.Log(), size, index)
				if err != nil {
					return err
				}
				p := &feed.LeafProof{Index: index}
				for _, h := range path {
					p.Path = append(p.Path, h[:])
				}
				out[b.Instance] = append(out[b.Instance], p)
			}
		}
		return nil
	})
	return out, err
}
