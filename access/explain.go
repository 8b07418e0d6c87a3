package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// What came of making a stored decision again (P8).
const (
	ReplaySame        = "same"
	ReplayEngineOther = "engine differs" // this binary decides by other rules: nothing can be said
	ReplayMismatch    = "mismatch"       // stored inputs and stored policy do not give the stored decision
	ReplayImpossible  = "policy missing" // the stored policy cannot be loaded any more
)

// Explanation is why a request is where it is: its decisions as stored, each
// made again from its stored inputs by the stored policy.
type Explanation struct {
	Request   RequestView
	Decisions []ExplainedDecision
}

// ExplainedDecision is one decision of policy, as stored.
type ExplainedDecision struct {
	BasisDecision
	Replay string // ReplaySame or what else
	Detail string // of a Replay that is not the same
}

// Explain explains a request.
func (s *Service) Explain(ctx context.Context, c Caller, id grant.RequestID) (Explanation, error) {
	var out Explanation
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		r, err := v.request(ctx, tx, id)
		if err != nil {
			return err
		}
		basis, err := readBasis(r.Inputs)
		if err != nil {
			return err
		}
		out = Explanation{Request: r}
		for _, d := range basis.Decisions {
			e := ExplainedDecision{BasisDecision: d}
			if e.Replay, e.Detail, err = s.replay(ctx, tx, d); err != nil {
				return err
			}
			out.Decisions = append(out.Decisions, e)
		}
		return nil
	})
	if err != nil {
		return Explanation{}, err
	}
	return out, nil
}

// replay makes a stored decision again.
func (s *Service) replay(ctx context.Context, tx Tx, d BasisDecision) (result, detail string, err error) {
	if d.Inputs.Engine != policy.EngineVersion() {
		return ReplayEngineOther, fmt.Sprintf("decided by %s, this is %s", d.Inputs.Engine, policy.EngineVersion()), nil
	}
	set, err := s.policyAt(ctx, tx, policyKey{d.Inputs.Policy, d.Inputs.Commit})
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return "", "", err
		}
		return ReplayImpossible, err.Error(), nil
	}
	made, err := set.Replay(d.Inputs)
	if err != nil {
		return ReplayMismatch, err.Error(), nil
	}
	again, err := basisOf(d.When, set, made)
	if err != nil {
		return "", "", err
	}
	same, err := d.same(again)
	if err != nil {
		return "", "", err
	}
	if !same {
		return ReplayMismatch, fmt.Sprintf("stored %s %s, made again %s %s", d.Outcome, d.Code, again.Outcome, again.Code), nil
	}
	return ReplaySame, "", nil
}
