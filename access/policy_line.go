package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// PolicyWait says why a commit is not in force yet.
type PolicyWait struct {
	Until time.Time // by the clock as it stands: the wait itself is counted in time that has passed
	Held  bool      // it waits for the end of a hold; otherwise for its own time
	New   bool      // nobody had seen the commit before
}

// RefusedPolicy is why a commit may not enter into force as things stand.
type RefusedPolicy struct {
	Commit string
	Reason string // stable
	Words  string
}

// Error names the commit and says what is missing.
func (e *RefusedPolicy) Error() string { return "commit " + clip(e.Commit) + ": " + e.Words }

// ReasonFewSignatures is the reason of a commit that too few persons signed.
const ReasonFewSignatures = "few_signatures"

// signers returns the different persons who signed c.
func (c PolicyCommit) signers() []string {
	var out []string
	for _, person := range append([]string{c.Signer}, c.Cosigners...) {
		if person != "" {
			out = append(out, person)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// signedEnough refuses a commit that fewer persons signed than the policy in force
// wants. Who may sign at all was checked with the signature (policy/git); without
// one nothing comes here but in development.
func (w *work) signedEnough(before *policy.Set, c PolicyCommit) error {
	if before == nil || c.Signer == "" && w.unsettled {
		return nil
	}
	have, want := c.signers(), before.Signatures()
	if len(have) >= want {
		return nil
	}
	return &RefusedPolicy{Commit: c.Commit, Reason: ReasonFewSignatures, Words: fmt.Sprintf(
		"%d of %d signatures: %v signed it, and the policy in force wants %d different signers; have another one add theirs with git commit --allow-empty -S on top", len(have), want, have, want)}
}

// settlingLeaf is the body of the leaves policy.settling and policy.withdrawn.
type settlingLeaf struct {
	Commit  string   `json:"commit"`
	Digest  string   `json:"digest"`
	Signers []string `json:"signers,omitempty"`
	Wait    string   `json:"wait_s,omitempty"`
}

// wait decides whether set may enter into force now: nil is yes. Whatever is not
// proven to give nobody more on apps that were there before waits.
func (w *work) wait(ctx context.Context, before, set *policy.Set, c PolicyCommit) (*PolicyWait, error) {
	if before == nil {
		return nil, nil
	}
	hold, held, err := w.hold(ctx, true)
	if err != nil {
		return nil, err
	}
	passed := w.tx.Passed()
	if held { // what was in force before it comes back with its end
		if was, err := w.wasInForce(ctx, c.Commit); err != nil || was {
			return &PolicyWait{Until: w.now.Add(hold.Until - passed), Held: true}, err
		}
	}
	if widens, err := w.widens(ctx, w.tx, before, set); err != nil || !widens {
		return nil, err
	}
	due, fresh, err := w.due(ctx, before, set, c)
	if err != nil {
		return nil, err
	}
	switch {
	case held:
		return &PolicyWait{Until: w.now.Add(max(hold.Until, due) - passed), Held: true, New: fresh}, nil
	case passed < due:
		return &PolicyWait{Until: w.now.Add(due - passed), New: fresh}, nil
	default:
		return nil, nil
	}
}

// wasInForce reports whether a commit entered into force once.
func (w *work) wasInForce(ctx context.Context, commit string) (bool, error) {
	entries, err := w.tx.Policies().Entries(ctx, time.Time{})
	if err != nil {
		return false, fmt.Errorf("policies: %w", err)
	}
	return slices.ContainsFunc(entries, func(e PolicyEntry) bool { return e.Commit == commit }), nil
}

// widens reports whether somebody could gain by set on an app that is there, or was: an
// app that is removed by one commit and comes back by the next, for another host, was
// replaced. So could somebody by a policy that does not load any more: nobody can tell.
func (s *Service) widens(ctx context.Context, tx Tx, before, set *policy.Set) (bool, error) {
	c := policy.Compare(before, set)
	if c.Widens() {
		return true, nil
	}
	dropped, err := tx.Policies().Dropped(ctx)
	if err != nil {
		return false, fmt.Errorf("what was dropped: %w", err)
	}
	for _, digest := range dropped {
		earlier, err := s.policyAt(ctx, tx, policyKey{digest: digest})
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil || c.ReAdds(earlier) {
			return true, nil
		}
	}
	return false, nil
}

// maxSettling bounds how many commits wait: each is kept whole.
const maxSettling = 16

// ReasonManySettling is the reason of a commit that would be one too many to wait.
const ReasonManySettling = "many_settling"

// due returns when, by Tx.Passed, a commit has waited long enough, and notes one that
// is seen for the first time.
func (w *work) due(ctx context.Context, before, set *policy.Set, c PolicyCommit) (due time.Duration, fresh bool, err error) {
	if w.unsettled {
		return 0, false, nil
	}
	waiting, err := w.tx.Policies().Settling(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("commits that settle: %w", err)
	}
	for _, other := range waiting {
		if other.Commit == c.Commit {
			return other.Due, false, nil
		}
	}
	if len(waiting) >= maxSettling {
		return 0, false, &RefusedPolicy{Commit: c.Commit, Reason: ReasonManySettling, Words: fmt.Sprintf("%d commits wait already: one more is looked at when the first of them is through", len(waiting))}
	}
	due = w.tx.Passed() + before.Settle()
	for _, other := range waiting {
		lends, err := w.lends(ctx, before, other, set)
		if err != nil {
			return 0, false, err
		}
		if lends {
			due = min(due, other.Due)
		}
	}
	if err := w.tx.Policies().Keep(ctx, StoredPolicy{Digest: set.Digest(), Commit: c.Commit, Signer: c.Signer, Files: c.Files, Manifest: policy.Manifest(c.Files)}); err != nil {
		return 0, false, fmt.Errorf("store policy: %w", err)
	}
	err = w.tx.Policies().AddSettling(ctx, SettlingCommit{Commit: c.Commit, Digest: set.Digest(), Signers: c.signers(), Seen: w.now, Due: due})
	if err != nil {
		return 0, false, fmt.Errorf("settle: %w", err)
	}
	_, err = w.leaf(ctx, audit.TypePolicySettling, set.Digest(), settlingLeaf{
		Commit: clip(c.Commit), Digest: set.Digest(), Signers: c.signers(), Wait: seconds(due - w.tx.Passed()),
	})
	return due, true, err
}

// lends reports whether set has waited as long as another commit that waits: it is a
// correction by which nobody gains more than by that one, and brings no app back that
// the other one, the policy in force or an earlier one had.
func (w *work) lends(ctx context.Context, before *policy.Set, other SettlingCommit, set *policy.Set) (bool, error) {
	seen, err := w.policyAt(ctx, w.tx, policyKey{other.Digest, other.Commit})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil || policy.Compare(seen, set).ReAdds(before) {
		return false, nil
	}
	more, err := w.widens(ctx, w.tx, seen, set)
	return !more, err
}

// enter notes that set entered into force, whose it is, and that it waits no more.
func (w *work) enter(ctx context.Context, before, set *policy.Set, c PolicyCommit, how PolicyHow) error {
	e := PolicyEntry{Digest: set.Digest(), Commit: set.Commit(), Signers: c.signers(), At: w.now, Passed: max(w.tx.Passed(), time.Microsecond), How: how}
	authors := append(slices.Clone(e.Signers), c.Authors...)
	for _, name := range authors {
		person, err := identity.NamedPerson(name)
		if err != nil {
			continue // the file with the first signer may name anybody
		}
		for _, of := range []*policy.Set{before, set} {
			if of == nil {
				continue
			}
			e.Authors = append(e.Authors, textsOf(of.AccountsOf(person))...)
		}
	}
	e.Authors = append(e.Authors, authors...)
	slices.Sort(e.Authors)
	e.Authors = slices.Compact(e.Authors)
	if before != nil && policy.Drops(before, set) {
		if err := w.tx.Policies().AddDropped(ctx, before.Digest()); err != nil {
			return fmt.Errorf("what was dropped: %w", err)
		}
	}
	if err := w.tx.Policies().Enter(ctx, e); err != nil {
		return fmt.Errorf("enter policy: %w", err)
	}
	if err := w.tx.Policies().DropSettling(ctx, set.Commit()); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// signedAt returns when a commit of which p's human signed anything entered into force
// last, within the time that counts; zero if none did. How long ago that is is counted
// in time that has passed, and told by the clock as it stands: one that is moved forward
// does not shorten it.
func (s *Service) signedAt(ctx context.Context, tx Tx, set *policy.Set, p identity.Principal) (time.Time, error) {
	entries, err := tx.Policies().EntriesSince(ctx, tx.Passed()-policy.SignerRest, tx.Now().Add(-policy.SignerRest))
	if err != nil {
		return time.Time{}, fmt.Errorf("policies of late: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e PolicyEntry) bool { return e.How == HowHeld || len(e.Authors) == 0 })
	if len(entries) == 0 {
		return time.Time{}, nil
	}
	accounts, err := accountsOf(ctx, tx, set, p)
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range slices.Backward(entries) {
		for _, a := range accounts {
			if slices.Contains(e.Authors, a.Principal.String()) || slices.Contains(e.Authors, set.PersonOf(a.Principal).String()) {
				if e.Passed == 0 {
					return e.At, nil
				}
				return tx.Now().Add(e.Passed - tx.Passed()), nil
			}
		}
	}
	return time.Time{}, nil
}

// NextSigners returns the policy in force and who may sign the next commit. During a hold
// they are signers before it and after: a key that was taken out since signs nothing.
func (s *Service) NextSigners(ctx context.Context) (set *policy.Set, signers []policy.Signer, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		if set, err = s.inForce(ctx, tx); err != nil {
			return err
		}
		signers = slices.Clone(set.Signers())
		h, err := tx.Policies().Hold(ctx, true)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hold: %w", err)
		}
		back, err := s.policyAt(ctx, tx, policyKey{h.BackDigest, h.BackCommit})
		if err != nil {
			return err
		}
		signers = slices.DeleteFunc(signers, func(one policy.Signer) bool { return !slices.Contains(back.Signers(), one) })
		return nil
	})
	return set, signers, err
}

// Settling lists the commits that settle, in the order in which they were seen.
func (s *Service) Settling(ctx context.Context) ([]SettlingCommit, error) {
	var out []SettlingCommit
	err := s.store.View(ctx, func(tx Tx) (err error) {
		out, err = tx.Policies().Settling(ctx)
		return err
	})
	return out, err
}

// WithdrawPolicy forgets commits that settle: they are no longer on the branch, so
// that they enter into force by no time that passes.
func (s *Service) WithdrawPolicy(ctx context.Context, commits []string) error {
	if len(commits) == 0 {
		return nil
	}
	return s.update(ctx, func(w *work) error {
		waiting, err := w.tx.Policies().Settling(ctx)
		if err != nil {
			return fmt.Errorf("commits that settle: %w", err)
		}
		for _, c := range waiting {
			if !slices.Contains(commits, c.Commit) {
				continue
			}
			if err := w.tx.Policies().DropSettling(ctx, c.Commit); err != nil {
				return fmt.Errorf("settle: %w", err)
			}
			if _, err := w.leaf(ctx, audit.TypePolicyWithdrawn, c.Digest, settlingLeaf{Commit: clip(c.Commit), Digest: c.Digest, Signers: c.Signers}); err != nil {
				return err
			}
		}
		return nil
	})
}
