package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// What came of making a stored decision again (P8).
const (
	ReplaySame        = "same"
	ReplayEngineOther = "engine differs" // this binary decides by other rules: nothing can be said
	ReplayMismatch    = "mismatch"       // what is stored is not what was decided from, or does not give the decision
	ReplayImpossible  = "policy missing" // the stored policy is not there, or cannot be loaded any more
)

// Why a decision is not the same. The words are stable.
const (
	CauseInput      = "input_changed"     // the stored decision is not the one on the record
	CauseFile       = "file_changed"      // a stored policy file is not the one that decided
	CauseRecord     = "record_changed"    // the leaf is not the one that the record's tree holds
	CauseNoRecord   = "not_on_record"     // no leaf tells of the decision
	CauseOther      = "decides_otherwise" // all is as it was, and decides another thing
	CauseEngine     = "engine_differs"
	CauseCatalogue  = "catalogue_differs" // the kind of app knows other operations by now
	CauseNoPolicy   = "policy_missing"
	CauseUnreadable = "policy_unreadable" // by this version
)

// Rederived is what came of making one stored decision again.
type Rederived struct {
	Replay string // one of the Replay constants
	Cause  string // of one that is not the same
	Where  string // which input, file or leaf
	Detail string // for people
	Leaf   int64  // of the decision, in the control log; -1: not found
}

func (r Rederived) because(replay, cause, where, format string, args ...any) Rederived {
	r.Replay, r.Cause, r.Where, r.Detail = replay, cause, where, fmt.Sprintf(format, args...)
	return r
}

// rederive makes a stored decision again: the leaf is held to the hash that the
// database keeps of it for the tree (to no signed checkpoint: audit verify does that), what
// is stored to the leaf, the stored files to the digest that the leaf names, and then
// policy is asked. What is found first is told, in that order: each of them is only
// worth something if the ones before hold. The set is that of the decision, nil if
// there is none to be had.
func (s *Service) rederive(ctx context.Context, tx Tx, id grant.RequestID, d BasisDecision) (Rederived, *policy.Set, error) {
	out := Rederived{Replay: ReplaySame, Leaf: -1}
	leaf, at, raw, err := decisionLeaf(ctx, tx, id, d.When)
	if err != nil {
		return out, nil, err
	}
	if at < 0 {
		return out.because(ReplayMismatch, CauseNoRecord, "", "no leaf of the control log tells of this decision"), nil, nil
	}
	out.Leaf = at
	held, err := tx.Log().ReadHashes(ctx, []int64{tlog.StoredHashIndex(0, at)})
	if err != nil {
		return out, nil, fmt.Errorf("hash of leaf %d: %w", at, err)
	}
	if len(held) != 1 || tlog.RecordHash(raw) != held[0] {
		return out.because(ReplayMismatch, CauseRecord, fmt.Sprintf("leaf %d", at), "leaf %d is not the one that the record's tree holds: mayfly audit verify", at), nil, nil
	}
	hash, err := d.hash()
	if err != nil {
		return out, nil, err
	}
	if hash != leaf.Decision {
		where := d.unlike(leaf)
		detail := "the stored decision and inputs are not those of which leaf " + fmt.Sprint(at) + " holds the hash"
		if where != "" {
			detail += ": " + where
		}
		return out.because(ReplayMismatch, CauseInput, where, "%s", detail), nil, nil
	}
	if d.Inputs.Engine != policy.EngineVersion() {
		return out.because(ReplayEngineOther, CauseEngine, "", "decided by %s, this is %s", d.Inputs.Engine, policy.EngineVersion()), nil, nil
	}
	set, out, err := s.policyOf(ctx, tx, d.Inputs, out)
	if set == nil || err != nil {
		return out, nil, err
	}
	return d.again(set, out)
}

// again asks policy.
func (d BasisDecision) again(set *policy.Set, out Rederived) (Rederived, *policy.Set, error) {
	if now := set.CatalogueOf(d.Inputs.Entitlement); now != "" && now != d.Inputs.Catalogue {
		_, where, _, _, _ := set.Owners(d.Inputs.Entitlement)
		of := "app " + where
		if where == "" {
			where = d.Inputs.Entitlement
			of = "the apps of " + where
		}
		return out.because(ReplayEngineOther, CauseCatalogue, where, "decided with catalogue %s of %s, this version has %s", d.Inputs.Catalogue, of, now), nil, nil
	}
	made, err := set.Replay(d.Inputs)
	if err != nil {
		return out.because(ReplayMismatch, CauseOther, "", "%v", err), set, nil
	}
	again, err := basisOf(d.When, set, made)
	if err != nil {
		return out, nil, err
	}
	same, err := d.same(again)
	if err != nil {
		return out, nil, err
	}
	if !same {
		return out.because(ReplayMismatch, CauseOther, "", "stored %s %s, made again %s %s", d.Outcome, d.Code, again.Outcome, again.Code), set, nil
	}
	return out, set, nil
}

// decisionLeaf finds the leaf of a request's decision; at is -1 if there is none.
func decisionLeaf(ctx context.Context, tx Tx, id grant.RequestID, when string) (leaf decisionMade, at int64, raw []byte, err error) {
	places, err := tx.Spools().Find(ctx, id.String())
	if err != nil {
		return leaf, -1, nil, fmt.Errorf("find %s: %w", id, err)
	}
	for _, p := range places {
		if p.Spool != "" {
			continue
		}
		leaves, err := tx.Log().ReadLeaves(ctx, int64(p.Seq), int64(p.Seq)+1)
		if err != nil || len(leaves) != 1 {
			return leaf, -1, nil, fmt.Errorf("leaf %d: %w", p.Seq, errors.Join(err, ErrNotFound))
		}
		r, err := audit.Decode(leaves[0])
		if err != nil {
			return leaf, -1, nil, err
		}
		var one decisionMade
		if r.Type == audit.TypeDecisionMade && r.Into(&one) == nil && one.Request == id.String() && one.When == when {
			return one, int64(p.Seq), leaves[0], nil
		}
	}
	return leaf, -1, nil, nil
}

// unlike names what the stored decision says otherwise than its leaf, "" if the leaf
// holds that only by its hash.
func (d BasisDecision) unlike(leaf decisionMade) string {
	var out []string
	for _, one := range [][3]string{
		{"outcome", d.Outcome, leaf.Outcome}, {"code", d.Code, leaf.Code}, {"policy", d.Inputs.Policy, leaf.Policy},
		{"commit", d.Inputs.Commit, leaf.Commit}, {"engine", d.Inputs.Engine, leaf.Engine}, {"catalogue", d.Inputs.Catalogue, leaf.Catalogue},
	} {
		if one[1] != one[2] {
			out = append(out, fmt.Sprintf("%s is %q, and was %q", one[0], one[1], one[2]))
		}
	}
	return strings.Join(out, "; ")
}

// policyOf loads the policy that decided. A set that this process would not put in
// force, for what it is configured to, still decides what it decided.
func (s *Service) policyOf(ctx context.Context, tx Tx, in policy.Inputs, out Rederived) (*policy.Set, Rederived, error) {
	key := policyKey{in.Policy, in.Commit}
	stored, err := tx.Policies().ByDigest(ctx, in.Policy)
	if errors.Is(err, ErrNotFound) {
		return nil, out.because(ReplayImpossible, CauseNoPolicy, in.Policy, "policy %s is not stored", in.Policy), nil
	}
	if err != nil {
		return nil, out, err
	}
	if policy.Digest(stored.Files) != in.Policy {
		where := changedFiles(stored)
		return nil, out.because(ReplayMismatch, CauseFile, where, "the stored files of policy %s are not those that decided: %s", in.Policy, where), nil
	}
	if set := s.replayed.get(key); set != nil { // by what the files are, just looked at
		return set, out, nil
	}
	o := s.options
	o.Commit, o.InForce, o.GroupSources, o.Credentialed, o.Dev = in.Commit, true, nil, nil, true // they refuse files, and decide nothing
	set, err := policy.Load(stored.Files, o)
	if err != nil {
		return nil, out.because(ReplayImpossible, CauseUnreadable, "", "this version does not load policy %s: %v", in.Policy, err), nil
	}
	s.replayed.put(key, set)
	return set, out, nil
}

// changedFiles names the files that are not as the manifest says.
func changedFiles(p StoredPolicy) string {
	if len(p.Manifest) == 0 {
		return "which one is not known: the policy was stored before its manifest was kept"
	}
	if audit.SHA256(p.Manifest).String() != p.Digest {
		return "which one cannot be told: the stored manifest was changed too"
	}
	var list [][2]string
	if err := json.Unmarshal(p.Manifest, &list); err != nil {
		return "the manifest cannot be read"
	}
	var out []string
	left := maps.Clone(p.Files)
	for _, one := range list {
		body, ok := left[one[0]]
		delete(left, one[0])
		switch {
		case !ok:
			out = append(out, one[0]+" is missing")
		case audit.SHA256(body).String() != one[1]:
			out = append(out, one[0]+" has another content")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		out = append(out, name+" was not there")
	}
	return strings.Join(out, "; ")
}
