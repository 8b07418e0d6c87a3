package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// watchEvery is how often it is written down at least that the repository was read.
const watchEvery = time.Minute

// seen notes that the repository was read, with a commit at the tip. No time stands beside
// a tip that was not there yet.
func (v *PolicyWatch) seen(tip string, now time.Time) {
	if tip != v.Tip || now.Sub(v.At) >= watchEvery {
		v.At = now
	}
	v.Failed, v.Tip = time.Time{}, tip
}

// SawPolicy notes that the repository was read, and nothing was wrong with its tip.
func (s *Service) SawPolicy(ctx context.Context, tip string) error {
	return s.watched(ctx, func(now time.Time, v *PolicyWatch) {
		v.Refused = RefusedCommit{}
		v.seen(tip, now)
	})
}

// LostPolicy notes that the repository cannot be read. What was in force stays.
func (s *Service) LostPolicy(ctx context.Context) error {
	return s.watched(ctx, func(now time.Time, v *PolicyWatch) {
		if v.Failed.IsZero() {
			v.Failed = now
		}
	})
}

// watched changes what was seen of the repository, and records a refusal that is new.
func (s *Service) watched(ctx context.Context, f func(now time.Time, v *PolicyWatch)) error {
	changed := func(tx Tx) (was, is PolicyWatch, err error) {
		if was, err = tx.Policies().Watch(ctx); err != nil {
			return was, is, fmt.Errorf("policy repository: %w", err)
		}
		is = was
		f(tx.Now(), &is)
		return was, is, nil
	}
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		was, is, err := changed(tx)
		return was != is, err
	}, func(w *work) error {
		was, is, err := changed(w.tx)
		if err != nil || was == is {
			return err
		}
		if no := is.Refused; no != was.Refused && no.Reason != "" {
			if _, err := w.leaf(ctx, audit.TypePolicyRefused, "", policyRefused{Commit: no.Commit, Reason: no.Reason, Words: no.Words}); err != nil {
				return err
			}
		}
		return w.tx.Policies().SetWatch(ctx, is)
	})
}

// PolicyStatus is how policy stands.
type PolicyStatus struct {
	InForce    PolicyEntry // the last entry into force; zero: none yet
	Signatures int         // that the next commit needs
	Settle     time.Duration
	Settling   []Settling
	Hold       *HoldView // nil: none
	Proposed   *HoldView // nil: none
	Seen       PolicyWatch
	Over       []policy.Exception // of the policy in force: what they excused is denied
	Dev        bool               // unsigned commits enter into force, and none waits
	Now        time.Time
}

// Settling is a commit that waits.
type Settling struct {
	SettlingCommit
	DueAt time.Time // Due, by the clock as it stands
	Gains []string  // what somebody gains by it, in words
}

// HoldView is a hold, or the wish for one.
type HoldView struct {
	PolicyHold
	UntilAt time.Time // Until, by the clock as it stands
	First   string    // the person who proposed it, as people are shown
	Second  string
}

// PolicyStatus tells how policy stands, to any person.
func (s *Service) PolicyStatus(ctx context.Context, c Caller) (PolicyStatus, error) {
	if !c.isPerson() {
		return PolicyStatus{}, fault(CodeNotAPerson, "", "how policy stands is told to persons")
	}
	var out PolicyStatus
	err := s.store.View(ctx, func(tx Tx) (err error) {
		if out, err = s.policyStatus(ctx, tx); err != nil {
			return err
		}
		return s.policyDetail(ctx, tx, &out)
	})
	return out, err
}

// policyStatus reads what changes about policy.
func (s *Service) policyStatus(ctx context.Context, tx Tx) (PolicyStatus, error) {
	out := PolicyStatus{Dev: s.unsettled, Now: tx.Now(), Settling: []Settling{}}
	var err error
	if out.Seen, err = tx.Policies().Watch(ctx); err != nil {
		return PolicyStatus{}, err
	}
	out.InForce.Digest, out.InForce.Commit, err = tx.Policies().Head(ctx)
	if errors.Is(err, ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return PolicyStatus{}, err
	}
	var unloadable policy.Errors // told by whatever needs it
	switch set, err := s.policyAt(ctx, tx, policyKey{out.InForce.Digest, out.InForce.Commit}); {
	case err == nil:
		out.Over = set.Overdue(out.Now)
	case !errors.As(err, &unloadable):
		return PolicyStatus{}, err
	}
	waiting, err := tx.Policies().Settling(ctx)
	if err != nil {
		return PolicyStatus{}, err
	}
	for _, c := range waiting {
		out.Settling = append(out.Settling, Settling{SettlingCommit: c, DueAt: out.Now.Add(c.Due - tx.Passed())})
	}
	if out.Proposed, err = s.holdView(ctx, tx, false); err != nil {
		return PolicyStatus{}, err
	}
	out.Hold, err = s.holdView(ctx, tx, true)
	return out, err
}

// policyDetail adds what is to be worked out: who signed, and who gains by what waits.
func (s *Service) policyDetail(ctx context.Context, tx Tx, out *PolicyStatus) error {
	set, err := s.inForce(ctx, tx)
	if CodeOf(err) == CodeNoPolicy {
		return nil
	}
	if err != nil {
		return err
	}
	out.Signatures, out.Settle = set.Signatures(), set.Settle()
	entries, err := tx.Policies().Entries(ctx, time.Time{})
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		out.InForce = entries[len(entries)-1]
	}
	for i, c := range out.Settling {
		next, err := s.policyAt(ctx, tx, policyKey{c.Digest, c.Commit})
		if err != nil {
			return err
		}
		out.Settling[i].Gains = gains(set, next)
	}
	return nil
}

// holdView returns a hold whose time is not over; nil if there is none.
func (s *Service) holdView(ctx context.Context, tx Tx, confirmed bool) (*HoldView, error) {
	h, err := tx.Policies().Hold(ctx, confirmed)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && tx.Passed() >= h.Until:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("hold: %w", err)
	}
	v := &HoldView{PolicyHold: h, UntilAt: tx.Now().Add(h.Until - tx.Passed())}
	for _, p := range []struct {
		who  identity.Principal
		into *string
	}{{h.ProposedBy, &v.First}, {h.ConfirmedBy, &v.Second}} {
		if !p.who.IsZero() {
			if *p.into, err = shown(ctx, tx, p.who); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// gains says what somebody could gain by next, in words.
func gains(set, next *policy.Set) []string {
	var out []string
	for _, c := range policy.Compare(set, next).Changes {
		if c.Widens {
			out = append(out, c.What+": "+c.Text)
		}
	}
	return out
}

// PolicyAlarms tells what an operator watches of policy: no more than what is cheap to
// read, so without the words of InForce and Gains.
func (s *Service) PolicyAlarms(ctx context.Context) (PolicyStatus, error) {
	var out PolicyStatus
	err := s.store.View(ctx, func(tx Tx) (err error) {
		out, err = s.policyStatus(ctx, tx)
		return err
	})
	return out, err
}

// PolicyNotices says what people are to know of policy before they rely on it: a
// repository that cannot be read, a tip that may not enter into force, commits that
// wait, a hold, exceptions that are over. None: all is well.
func (s *Service) PolicyNotices(ctx context.Context) ([]string, error) {
	v, err := s.PolicyAlarms(ctx)
	if err != nil {
		return nil, err
	}
	return v.Notices(), nil
}

// Notices says the same in sentences, as PolicyNotices does.
func (v PolicyStatus) Notices() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	in := "commit " + short(v.InForce.Commit) + " stays in force"
	if v.InForce.Commit == "" {
		in = "no policy is in force"
	}
	if !v.Seen.Failed.IsZero() {
		say("The policy repository cannot be read since %s: %s, and nothing newer is known.", second(v.Seen.Failed), in)
	}
	if no := v.Seen.Refused; no.Reason != "" {
		say("Policy commit %s is refused (%s): %s.", short(no.Commit), no.Reason, in)
	}
	if v.Hold != nil {
		say("Policy is held at %s until %s: only commits by which nobody gains enter into force.", short(v.Hold.Commit), second(v.Hold.UntilAt))
	}
	if n := len(v.Settling); n > 0 && v.Hold == nil {
		next := slices.MinFunc(v.Settling, func(a, b Settling) int { return a.DueAt.Compare(b.DueAt) })
		if n == 1 {
			say("Policy commit %s waits until %s, because somebody gains by it.", short(next.Commit), second(next.DueAt))
		} else {
			say("%d policy commits wait, the next one (%s) until %s, because somebody gains by them.", n, short(next.Commit), second(next.DueAt))
		}
	}
	if len(v.Over) > 0 {
		var names []string
		for _, x := range v.Over[:min(len(v.Over), maxOver)] {
			names = append(names, fmt.Sprintf("%s of %s since %s", clip(x.Name), clip(x.Owner), second(x.Until)))
		}
		if more := len(v.Over) - len(names); more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		say("Exceptions in policy are over, and what they excused is denied: %s.", strings.Join(names, ", "))
	}
	return out
}

// second is an instant as people read it.
func second(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxOver bounds how many exceptions a notice names.
const maxOver = 5

// short is as much of a commit's name as people read.
func short(commit string) string {
	if commit == "" {
		return "no commit"
	}
	return clip(commit[:min(12, len(commit))])
}
