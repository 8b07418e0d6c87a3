package access

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// reconsider asks the policy in force about a request whose approvals are
// complete, and makes the grant if it says what the approvers saw: the same
// operations, limits and duration, and no other approvals. Anything else denies.
func (w *work) reconsider(ctx context.Context, set *policy.Set, r *Request) error {
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return err
	}
	in, err := basis.Decisions[0].Inputs.Input()
	if err != nil {
		return err
	}
	in.Requester.Person = set.PersonOf(r.Requester)
	d := set.Decide(in)
	next, err := basisOf(AtActivation, set, d)
	if err != nil {
		return err
	}
	basis.Decisions = append(basis.Decisions, next)
	if r.Inputs, err = basis.encode(); err != nil {
		return err
	}
	if err := w.decided(ctx, r, AtActivation); err != nil {
		return err
	}
	if err := w.notLocked(ctx, set, r.Beneficiary); err != nil {
		if CodeOf(err) != CodeLocked {
			return err
		}
		return w.finishRequest(ctx, r, Denied, audit.TypeRequestDenied, string(CodeLocked), "whoever would hold it is locked", identity.Principal{})
	}
	// The decision is of the time of the request, for the groups of then; what an
	// exception excused ends by today's clock.
	if over := set.Lapsed(r.Entitlement, w.now); over != nil {
		return w.finishRequest(ctx, r, Denied, audit.TypeRequestDenied, over.Code, over.Sentence, identity.Principal{})
	}
	why, err := w.differs(ctx, set, *r, d)
	if err != nil {
		return err
	}
	if why != "" {
		return w.finishRequest(ctx, r, Denied, audit.TypeRequestDenied, string(grant.PolicyChanged), why, identity.Principal{})
	}
	return w.activate(ctx, r, d, "approval")
}

// differs says how today's decision is not the one that was approved, "" if it is.
func (w *work) differs(ctx context.Context, set *policy.Set, r Request, d policy.Decision) (string, error) {
	switch {
	case d.Outcome == policy.NeedsApproval && !sameSteps(stepsOf(d.Steps), r.Steps):
		return "the policy asks for other approvals since this was requested: ask again", nil
	case d.Outcome != policy.NeedsApproval && d.Outcome != policy.Granted:
		return "the policy no longer allows this: " + d.Sentence, nil
	}
	raw, err := w.tx.Requests().Offer(ctx, r.Offer)
	if err != nil {
		return "", fmt.Errorf("offer of %s: %w", r.ID, err)
	}
	if audit.SHA256(raw).String() != r.OfferDigest {
		return "", fmt.Errorf("offer of %s: the stored bytes have another digest", r.ID)
	}
	var approved Offer
	if err := json.Unmarshal(raw, &approved); err != nil {
		return "", fmt.Errorf("offer of %s: %w", r.ID, err)
	}
	was, err := approved.substance()
	if err != nil {
		return "", err
	}
	is, err := offerOf(set, d).substance()
	if err != nil {
		return "", err
	}
	if !bytes.Equal(was, is) {
		return "the policy means something else by this entitlement since it was offered: ask again", nil
	}
	return "", nil
}
