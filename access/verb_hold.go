package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// Bounds of a hold.
const (
	minHold = time.Minute
	maxHold = 24 * time.Hour
	// holdOffer is how long a second person has to confirm one.
	holdOffer = 15 * time.Minute
	// minCommit is how many digits of a commit's name are wanted.
	minCommit = 7
)

// HoldResult is what a Hold did.
type HoldResult struct {
	HoldView
	Ended []string // grants that going back ended
}

// holdLeaf is the body of the leaves policy.hold and policy.released.
type holdLeaf struct {
	Commit  string `json:"commit"`
	By      string `json:"by,omitempty"`     // pseudonym
	Under   string `json:"under,omitempty"`  // grant
	Second  string `json:"second,omitempty"` // of who confirmed it; empty: proposed only
	Length  string `json:"length_s"`
	Restore string `json:"restore,omitempty"` // commit that is in force again
}

// Hold keeps policy at a commit that was in force before, or is, for a time: what one
// person asks for, another must ask for too, in the same words and within 15 minutes.
// Both act under a grant of policy.hold. Whoever asked for one may ask for another in its
// place; others may not, while it can be confirmed. While it lasts only commits enter into force
// by which nobody gains. It ends by itself: what was in force before is then again,
// unless such a commit came meanwhile.
func (s *Service) Hold(ctx context.Context, c Caller, commit string, length time.Duration) (HoldResult, error) {
	switch {
	case length < minHold || length > maxHold || length%time.Second != 0:
		return HoldResult{}, fault(CodeInvalid, "", "a hold lasts whole seconds, from 1m to 24h")
	case !c.isPerson():
		return HoldResult{}, fault(CodeNotAPerson, "", "only persons hold policy")
	}
	var out HoldResult
	err := s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		if err := w.notLocked(ctx, set, c.Principal); err != nil {
			return err
		}
		under, err := w.acting(ctx, w.tx, set, c, own(policy.OwnPolicyHold, nil))
		if err != nil {
			return err
		}
		to, err := w.entryOf(ctx, commit)
		if err != nil {
			return err
		}
		leaf := holdLeaf{Commit: to.Commit, Under: under.ID.String(), Length: seconds(length)}
		if leaf.By, err = w.pseudonym(ctx, c.Principal); err != nil {
			return err
		}
		proposed, stands, err := w.standing(ctx)
		if err != nil {
			return err
		}
		if stands && proposed.Commit == to.Commit && proposed.Length == length {
			out, err = w.confirmHold(ctx, set, c, proposed, to, leaf)
			return err
		}
		if stands {
			if err := w.ownWish(ctx, set, c, proposed); err != nil {
				return err
			}
		}
		out, err = w.proposeHold(ctx, c, under.ID, to, length, leaf)
		return err
	})
	if err != nil {
		return HoldResult{}, err
	}
	if !out.ConfirmedBy.IsZero() {
		s.checkpointPolicy(ctx)
	}
	return out, nil
}

// hold returns the hold that lasts, or the wish for one; is tells whether there is one.
func (w *work) hold(ctx context.Context, confirmed bool) (h PolicyHold, is bool, err error) {
	h, err = w.tx.Policies().Hold(ctx, confirmed)
	switch {
	case errors.Is(err, ErrNotFound):
		return PolicyHold{}, false, nil
	case err != nil:
		return PolicyHold{}, false, fmt.Errorf("hold: %w", err)
	default:
		return h, true, nil
	}
}

// standing returns the wish for a hold that can be confirmed: its time is not over, and
// whoever has it may hold policy still.
func (w *work) standing(ctx context.Context) (h PolicyHold, stands bool, err error) {
	h, is, err := w.hold(ctx, false)
	if err != nil || !is || w.tx.Passed() >= h.Until {
		return PolicyHold{}, false, err
	}
	if g, err := w.tx.Grants().Get(ctx, h.Under); err != nil || g.InForce(w.now) != nil {
		return PolicyHold{}, false, nil
	}
	return h, true, nil
}

// ownWish refuses to put another wish in the place of one that somebody else has: the
// second person would confirm what is no longer there.
func (w *work) ownWish(ctx context.Context, set *policy.Set, c Caller, h PolicyHold) error {
	first, err := accountsOf(ctx, w.tx, set, h.ProposedBy)
	if err != nil {
		return err
	}
	second, err := accountsOf(ctx, w.tx, set, c.Principal)
	if err != nil || meets(set, first, second) {
		return err
	}
	who, err := shown(ctx, w.tx, h.ProposedBy)
	if err != nil {
		return err
	}
	return fault(CodeTooSoon, "mayfly policy hold "+h.Commit+" --for "+h.Length.String(),
		"%s asked for a hold at %s for %s: confirm it with the same commit and time, or ask for another one after %s", who, short(h.Commit), h.Length, audit.Stamp(w.now.Add(h.Until-w.tx.Passed())))
}

// entryOf finds the last entry into force of a commit, by the beginning of its name.
// What was in force has been signed, loaded and kept, whatever became of the branch.
func (w *work) entryOf(ctx context.Context, commit string) (PolicyEntry, error) {
	if len(commit) < minCommit {
		return PolicyEntry{}, fault(CodeInvalid, "mayfly policy status", "%q: want at least %d digits of a commit's name", clip(commit), minCommit)
	}
	entries, err := w.tx.Policies().Entries(ctx, time.Time{})
	if err != nil {
		return PolicyEntry{}, fmt.Errorf("policies: %w", err)
	}
	var found PolicyEntry
	for _, e := range entries {
		switch {
		case !strings.HasPrefix(e.Commit, commit):
		case found.Commit != "" && found.Commit != e.Commit:
			return PolicyEntry{}, fault(CodeInvalid, "mayfly policy status", "%q begins the names of several commits: say more of it", clip(commit))
		default:
			found = e
		}
	}
	if found.Commit == "" {
		return PolicyEntry{}, fault(CodeNotFound, "mayfly policy status", "commit %q was never in force: only one that was can be held", clip(commit))
	}
	return found, nil
}

func (w *work) proposeHold(ctx context.Context, c Caller, under grant.GrantID, to PolicyEntry, length time.Duration, leaf holdLeaf) (HoldResult, error) {
	h := PolicyHold{Commit: to.Commit, Digest: to.Digest, Length: length, ProposedBy: c.Principal, Under: under, ProposedAt: w.now, Until: w.tx.Passed() + holdOffer}
	if err := w.tx.Policies().SetHold(ctx, h); err != nil {
		return HoldResult{}, fmt.Errorf("hold: %w", err)
	}
	_, err := w.leaf(ctx, audit.TypePolicyHold, to.Digest, leaf, leaf.Under)
	if err != nil {
		return HoldResult{}, err
	}
	return w.holdResult(ctx, false)
}

// confirmHold has a hold begin, or goes on with one that lasts: what was in force
// before it stays what is in force after it.
func (w *work) confirmHold(ctx context.Context, set *policy.Set, c Caller, h PolicyHold, to PolicyEntry, leaf holdLeaf) (HoldResult, error) {
	first, err := accountsOf(ctx, w.tx, set, h.ProposedBy)
	if err != nil {
		return HoldResult{}, err
	}
	second, err := accountsOf(ctx, w.tx, set, c.Principal)
	if err != nil {
		return HoldResult{}, err
	}
	if meets(set, first, second) {
		return HoldResult{}, fault(CodeSelfApproval, "", "you asked for this hold: another person must ask for the same, within %s", holdOffer)
	}
	if err := w.notLocked(ctx, set, h.ProposedBy); err != nil {
		return HoldResult{}, err
	}
	lasts, is, err := w.hold(ctx, true)
	if err != nil {
		return HoldResult{}, err
	}
	h.BackCommit, h.BackDigest = set.Commit(), set.Digest()
	if is && lasts.Commit == set.Commit() {
		h.BackCommit, h.BackDigest = lasts.BackCommit, lasts.BackDigest
	}
	h.ConfirmedBy, h.ConfirmedAt, h.Until = c.Principal, w.now, w.tx.Passed()+h.Length
	if err := errors.Join(w.tx.Policies().SetHold(ctx, h), w.tx.Policies().DropHold(ctx, false)); err != nil {
		return HoldResult{}, fmt.Errorf("hold: %w", err)
	}
	leaf.Second = leaf.By
	if leaf.By, err = w.pseudonym(ctx, h.ProposedBy); err != nil {
		return HoldResult{}, err
	}
	if _, err := w.leaf(ctx, audit.TypePolicyHold, to.Digest, leaf, leaf.Under); err != nil {
		return HoldResult{}, err
	}
	out, err := w.holdResult(ctx, true)
	if err != nil || to.Commit == set.Commit() {
		return out, err
	}
	out.Ended, err = w.goTo(ctx, set, policyKey{to.Digest, to.Commit}, to.Signers, HowHeld)
	return out, err
}

func (w *work) holdResult(ctx context.Context, confirmed bool) (HoldResult, error) {
	v, err := w.holdView(ctx, w.tx, confirmed)
	if err != nil || v == nil {
		return HoldResult{}, err
	}
	return HoldResult{HoldView: *v}, nil
}

// goTo puts a policy in force that was before.
func (w *work) goTo(ctx context.Context, before *policy.Set, k policyKey, signers []string, how PolicyHow) ([]string, error) {
	stored, err := w.tx.Policies().ByDigest(ctx, k.digest)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", k.digest, err)
	}
	set, err := w.policyAt(ctx, w.tx, k)
	if err != nil {
		return nil, err
	}
	c := PolicyCommit{Files: stored.Files, Commit: k.commit}
	if len(signers) > 0 {
		c.Signer, c.Cosigners = signers[0], signers[1:]
	}
	return w.applyPolicy(ctx, before, set, c, how)
}

// ReleaseHolds ends holds whose time is over. Call it each second.
func (s *Service) ReleaseHolds(ctx context.Context) error {
	over := func(tx Tx, confirmed bool) (bool, error) {
		h, err := tx.Policies().Hold(ctx, confirmed)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return err == nil && tx.Passed() >= h.Until, err
	}
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		proposed, err := over(tx, false)
		lasts, err2 := over(tx, true)
		return proposed || lasts, errors.Join(err, err2)
	}, func(w *work) error {
		for _, confirmed := range []bool{false, true} {
			if is, err := over(w.tx, confirmed); err != nil || !is {
				if err != nil {
					return fmt.Errorf("hold: %w", err)
				}
				continue
			}
			if err := w.release(ctx, confirmed); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *work) release(ctx context.Context, confirmed bool) error {
	h, _, err := w.hold(ctx, confirmed)
	if err != nil {
		return err
	}
	if err := w.tx.Policies().DropHold(ctx, confirmed); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return err
	}
	leaf := holdLeaf{Commit: h.Commit, Length: seconds(h.Length)}
	back := confirmed && set.Commit() == h.Commit && h.BackCommit != h.Commit
	if back {
		leaf.Restore = h.BackCommit
	}
	if _, err := w.leaf(ctx, audit.TypePolicyReleased, h.Digest, leaf); err != nil {
		return err
	}
	if !back {
		return nil
	}
	last, err := w.entryOf(ctx, h.BackCommit)
	if err != nil {
		return err
	}
	_, err = w.goTo(ctx, set, policyKey{h.BackDigest, h.BackCommit}, last.Signers, HowReleased)
	return err
}
