package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// Explanation is why something is as it is: a request, a grant, or what a gateway
// allowed or denied. Each decision stands in it as stored, and is made again.
type Explanation struct {
	ID          string
	Request     *RequestView // nil: of a try without a grant, and of the first administrator's
	Grant       *GrantView   // nil: there is none, or it is not for the viewer to see
	Try         *ExplainedTry
	Entitlement string
	Owner       string // of the entitlement, as the policy of the decision says; "" if there is none
	App         string
	AppOwner    string
	Decisions   []ExplainedDecision
	// Remedies are the smallest that would have made the newest decision a better one, by
	// the policy that made it. Each was decided.
	Remedies []policy.Remedy
	Help     []string // who can do something about it, in sentences
	Now      time.Time
}

// ExplainedDecision is one decision of policy, as stored.
type ExplainedDecision struct {
	BasisDecision
	Rederived
	Trail *policy.Trail // nil: this version cannot make it again
	Steps []ExplainedStep
}

// ExplainedStep is a step that the decision asks for, with what was said at it.
type ExplainedStep struct {
	Step
	Said []Approval
}

// Explain explains what an id stands for: a request, an offer, an approval, a grant; an
// action or a denial of a gateway. It shows what Show and Trace show of it, to those
// whom they show it; another's is answered like none. For a denial that is not on
// record yet it waits like FromDenial.
func (s *Service) Explain(ctx context.Context, c Caller, id string) (Explanation, error) {
	if prefix, _, _ := strings.Cut(id, "_"); prefix == "den" || prefix == "act" {
		return s.explainTry(ctx, c, id)
	}
	var out Explanation
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		out = Explanation{ID: id, Now: v.now}
		request, granted, err := newTracer(v, tx, id).resolve(ctx, id)
		if err != nil {
			return err
		}
		if !granted.IsZero() {
			g, err := v.grant(ctx, tx, granted)
			if err != nil {
				return hide(err, id)
			}
			out.Grant, request = &g, g.Request
		}
		return hide(s.explainRequest(ctx, tx, v, request, &out), id)
	})
	if err != nil {
		return Explanation{}, err
	}
	return out, nil
}

// explainRequest adds the request, and its decisions, to an explanation.
func (s *Service) explainRequest(ctx context.Context, tx Tx, v *viewer, id grant.RequestID, out *Explanation) error {
	if id.IsZero() {
		if out.Grant == nil {
			return notFound(out.ID)
		}
		out.Entitlement, out.App = out.Grant.Entitlement, out.Grant.Scope.App
		out.Help = []string{"nobody asked for this grant: it is the first administrator's, made on mayflyd's own machine"}
		return nil
	}
	r, err := v.request(ctx, tx, id)
	if err != nil {
		return err
	}
	out.Request, out.Entitlement, out.App = &r, r.Entitlement, r.App
	if out.Grant == nil && r.GrantNow != nil {
		g, err := v.grant(ctx, tx, r.Grant)
		switch {
		case err == nil:
			out.Grant = &g
		case CodeOf(err) == CodeInternal:
			return err
		}
	}
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return err
	}
	var set *policy.Set
	for _, d := range basis.Decisions {
		var e ExplainedDecision
		if e, set, err = s.explainDecision(ctx, tx, r, d); err != nil {
			return err
		}
		out.Decisions = append(out.Decisions, e)
	}
	newest := out.Decisions[len(out.Decisions)-1]
	if newest.Trail != nil {
		out.Owner, out.AppOwner = newest.Trail.Owner, newest.Trail.AppOwner
		if in, err := newest.Inputs.Input(); err == nil {
			out.Remedies = set.Closer(in)
		}
	}
	out.Help = helpOf(out, v)
	return nil
}

// explainDecision makes one decision again, and tells how it came about.
func (s *Service) explainDecision(ctx context.Context, tx Tx, r RequestView, d BasisDecision) (ExplainedDecision, *policy.Set, error) {
	out := ExplainedDecision{BasisDecision: d}
	again, set, err := s.rederive(ctx, tx, r.ID, d)
	if err != nil {
		return out, nil, err
	}
	out.Rederived = again
	if d.When == AtRequest {
		out.Steps = stepsSaid(r)
	}
	if again.Replay != ReplaySame {
		return out, set, nil
	}
	in, err := d.Inputs.Input()
	if err != nil {
		return out, nil, fmt.Errorf("stored inputs: %w", err)
	}
	trail := set.Trail(in)
	out.Trail = &trail
	return out, set, nil
}

// stepsSaid are the steps of a request with what was said at each.
func stepsSaid(r RequestView) []ExplainedStep {
	var out []ExplainedStep
	for i, step := range r.Steps {
		one := ExplainedStep{Step: step}
		for _, a := range r.Approvals {
			if a.Revision == r.Revision && a.Step == i {
				one.Said = append(one.Said, a)
			}
		}
		out = append(out, one)
	}
	return out
}

// helpOf says who can do something about a request, by the policy of its decision.
func helpOf(x *Explanation, v *viewer) []string {
	var out []string
	r := x.Request
	if r.State == Pending && r.Step < len(r.Steps) {
		step := policy.Step(r.Steps[r.Step])
		out = append(out, "waits until "+r.DecideBy.UTC().Format(time.RFC3339)+" for "+step.Words()+"; nobody approves their own access, by any account")
	}
	if r.State == Denied && r.Code == CodeRefused || r.State == Expired {
		for _, step := range r.Steps {
			out = append(out, "ask again, and then: "+policy.Step(step).Words()+"; of several who may approve, another one can answer")
		}
	}
	for _, m := range membersOf(x) {
		out = append(out, fmt.Sprintf("who may ask for %s and who approves it is %s's to say", m.Entitlement, m.Owner))
	}
	switch {
	case x.Owner != "" && len(membersOf(x)) > 0:
		out = append(out, fmt.Sprintf("what the bundle %s is made of is %s's to say", x.Entitlement, x.Owner))
	case x.Owner != "":
		out = append(out, fmt.Sprintf("who may ask and who approves is %s's to say: the owner of entitlement %s", x.Owner, x.Entitlement))
	}
	if x.AppOwner != "" && x.AppOwner != x.Owner {
		out = append(out, fmt.Sprintf("app %s is owned by %s", x.App, x.AppOwner))
	}
	if v.set != nil && !v.set.Security().IsZero() && !r.Grant.IsZero() {
		out = append(out, "if it is wrong that this was granted: "+v.set.Security().String()+" can end it")
	}
	return slices.Compact(out)
}

// membersOf are the entitlements of a bundle, as the newest decision found them.
func membersOf(x *Explanation) []policy.Trail {
	if len(x.Decisions) == 0 {
		return nil
	}
	if t := x.Decisions[len(x.Decisions)-1].Trail; t != nil {
		return t.Members
	}
	return nil
}
