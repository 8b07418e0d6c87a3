package access

import (
	"context"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/policy"
)

// Preview is what Request would answer now, of which nothing is kept.
type Preview struct {
	Outcome  policy.Outcome
	Code     string // reason code of a denial, such as max_duration; empty otherwise
	Sentence string
	Steps    []Step // approvals that it would wait for, in order
	Duration time.Duration
	// Offer says what would be granted: app, parameters, operations, limits,
	// duration and policy. It has no ids, parties or words; zero if denied.
	Offer   Offer
	Instead Instead
	Now     time.Time
}

// Instead is another duration that policy would answer better: longer ones wait
// or are refused. The zero value is none.
type Instead struct {
	Duration time.Duration
	Outcome  policy.Outcome
}

// Preview says what Request would answer to the same Ask by the same caller, by
// the same decision, and changes nothing. Its faults are those of Request.
func (s *Service) Preview(ctx context.Context, c Caller, a Ask) (Preview, error) {
	if err := a.checkBy(c); err != nil {
		return Preview{}, err
	}
	var out Preview
	err := s.store.View(ctx, func(tx Tx) error {
		w := &work{Service: s, tx: tx, now: tx.Now()}
		set, q, err := w.consider(ctx, c, a)
		if err != nil {
			return err
		}
		d := q.Decision
		out = Preview{
			Outcome: d.Outcome, Code: d.Code, Sentence: d.Sentence, Steps: stepsOf(d.Steps), Duration: d.Duration,
			Instead: instead(set, q), Now: w.now,
		}
		if d.Outcome != policy.Denied {
			out.Offer = offerOf(set, d)
			out.Offer.Entitlement, out.Offer.Reason = a.Entitlement, a.Reason
		}
		return nil
	})
	if err != nil {
		return Preview{}, err
	}
	return out, nil
}

// instead tries other durations on the same question.
func instead(set *policy.Set, q asked) Instead {
	in, d := q.Input, q.Decision
	e, ok := set.Terms(in.Entitlement)
	if !ok {
		return Instead{}
	}
	try := func(length time.Duration) policy.Outcome {
		in.Duration = length
		return set.Decide(in).Outcome
	}
	if d.Code == policy.DenyMaxDuration {
		if o := try(e.Max); o != policy.Denied {
			return Instead{e.Max, o}
		}
		return Instead{}
	}
	if d.Outcome != policy.NeedsApproval && d.Code != policy.DenyNobodyApproves {
		return Instead{}
	}
	wanted := in.Duration
	if wanted == 0 {
		wanted = e.Default
	}
	for _, length := range slices.Backward(Durations(e)) {
		if length < wanted && try(length) == policy.Granted {
			return Instead{length, policy.Granted}
		}
	}
	return Instead{}
}

// Durations returns sensible lengths of a grant of e, shortest first: common
// ones, its default and its cap.
func Durations(e *policy.Entitlement) []time.Duration {
	out := []time.Duration{e.Default, e.Max}
	for _, d := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour} {
		if d < e.Max {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Choice is an entitlement or a bundle as a caller sees it.
type Choice struct {
	*policy.Entitlement                       // of a bundle its terms, see policy.Set.Terms
	Members             []*policy.Entitlement // of a bundle
	// Barred is the code why the caller may not ask for it whatever else they say:
	// one of those that policy.Bars knows. Empty: they may ask.
	Barred string
}

// Choices returns every entitlement, and then every bundle, of the policy in force, each
// sorted by name, and which of them the caller may ask for.
func (s *Service) Choices(ctx context.Context, c Caller) ([]Choice, error) {
	var out []Choice
	err := s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		w := &work{Service: s, tx: tx, now: tx.Now()}
		in, err := w.question(ctx, set, c, Ask{})
		if err != nil {
			return err
		}
		out = nil
		for _, e := range set.Entitlements() {
			out = append(out, Choice{Entitlement: e, Barred: barred(set, in, e.Name)})
		}
		for _, b := range set.Bundles() {
			one := Choice{Barred: barred(set, in, b.Name)}
			one.Entitlement, _ = set.Terms(b.Name)
			for _, name := range b.Entitlements {
				if e, ok := set.Entitlement(name); ok {
					one.Members = append(one.Members, e)
				}
			}
			out = append(out, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// barred says why whoever asks may not ask for a name at all, "" if they may.
func barred(set *policy.Set, in policy.Input, name string) string {
	in.Entitlement = name
	for _, r := range set.Decide(in).Reasons {
		if policy.Bars(r.Code) {
			return r.Code
		}
	}
	return ""
}
