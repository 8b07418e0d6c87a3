package access

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

// approvalGiven is the body of the leaf approval.given.
type approvalGiven struct {
	Approval string `json:"approval"`
	Request  string `json:"request"`
	Revision string `json:"revision"`
	Step     string `json:"step"` // from 1
	Approver string `json:"approver"`
	Offer    string `json:"offer"`               // SHA-256 of the Offer's bytes, as shown
	Signed   string `json:"signature,omitempty"` // SHA-256 of the approver's signature, if there is one
}

// Approve gives the caller's approval of a pending request, for the Offer whose
// hex SHA-256 was shown. The last approval that the request waits for asks
// policy again and makes the grant; if policy says no by then, the answer is the
// request as denied, policy_changed.
func (s *Service) Approve(ctx context.Context, c Caller, id grant.RequestID, offerDigest, reason string) (Request, error) {
	return s.ApproveSigned(ctx, c, id, offerDigest, reason, proof.Signature{})
}

// Deny refuses a pending request: one person of the step that it waits for is
// enough. The words stand in the request's Approvals.
func (s *Service) Deny(ctx context.Context, c Caller, id grant.RequestID, reason string) (Request, error) {
	return s.answer(ctx, c, id, reason, func(w *work, set *policy.Set, r *Request) error {
		if _, err := w.speak(ctx, set, c, r, false, reason, proof.Signature{}); err != nil {
			return err
		}
		return w.finishRequest(ctx, r, Denied, audit.TypeRequestDenied, CodeRefused, "an approver said no", c.Principal)
	})
}

// CodeRefused is the Code of a request that a person denied.
const CodeRefused = "refused"

// answer is what Approve and Deny have in common: who may speak at all, and on what.
func (s *Service) answer(ctx context.Context, c Caller, id grant.RequestID, reason string, f func(*work, *policy.Set, *Request) error) (Request, error) {
	if !c.isPerson() {
		return Request{}, fault(CodeNotAPerson, "", "only a person approves or denies")
	}
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return Request{}, fault(CodeInvalid, "", "the reason is not text of at most %d bytes", maxReason)
	}
	var out Request
	err := s.update(ctx, func(w *work) error {
		r, err := w.tx.Requests().Get(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		if err := w.mayAnswer(ctx, set, c, r); err != nil {
			return err
		}
		if err := f(w, set, &r); err != nil {
			return err
		}
		out = r
		return nil
	})
	if err != nil {
		return Request{}, err
	}
	return out, nil
}

// mayAnswer checks, in this order: not locked, not one's own (P6), eligible, still
// pending.
func (w *work) mayAnswer(ctx context.Context, set *policy.Set, c Caller, r Request) error {
	if err := w.notLocked(ctx, set, c.Principal); err != nil {
		return err
	}
	accounts, err := accountsOf(ctx, w.tx, set, c.Principal)
	if err != nil {
		return err
	}
	own, err := ownAccess(ctx, w.tx, set, r, accounts)
	if err != nil {
		return err
	}
	if own {
		return fault(CodeSelfApproval, "", "nobody approves or denies their own access, by any of their accounts")
	}
	said, err := w.tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	steps := r.Steps // once it is decided, any of its steps may know so
	if r.State == Pending {
		at := currentStep(r, said)
		steps = steps[at : at+1]
	}
	no := fault(CodeNotEligible, "", "you are not among those who may decide this request")
	if err := eligible(set, c, steps, w.now, no); err != nil {
		return err
	}
	if r.State != Pending {
		return fault(CodeNotPending, "mayfly show "+r.ID.String(), "request %s is %s", r.ID, r.State)
	}
	if !w.now.Before(r.DecideBy) {
		return fault(CodeNotPending, "", "request %s was to be decided by %s", r.ID, audit.Stamp(r.DecideBy))
	}
	return w.spokeNot(ctx, set, r, said, accounts)
}

// eligible asks policy whether c belongs to one of steps; no is the answer
// otherwise.
func eligible(set *policy.Set, c Caller, steps []Step, now time.Time, no error) error {
	approver := policy.Approver{Principal: c.Principal, Person: set.PersonOf(c.Principal), Groups: c.Groups, GroupsAt: c.GroupsAt}
	for _, step := range steps {
		err := policy.MayApprove(policy.Step(step), approver, now)
		if err == nil {
			return nil
		}
		var refusal *policy.Refusal
		if !errors.As(err, &refusal) {
			return err
		}
		if refusal.Code == policy.DenyLoginAgain {
			no = loginAgain()
		}
	}
	return no
}

// spokeNot refuses a person who has spoken on this revision by any account: one
// human counts once.
func (w *work) spokeNot(ctx context.Context, set *policy.Set, r Request, said []Approval, accounts []policy.Account) error {
	for _, a := range said {
		if a.Revision != r.Revision {
			continue
		}
		theirs, err := accountsOf(ctx, w.tx, set, a.Approver)
		if err != nil {
			return err
		}
		if meets(set, theirs, accounts) || a.Person == set.PersonOf(accounts[0].Principal) {
			return fault(CodeAlreadyDecided, "mayfly show "+r.ID.String(), "you have decided on this request already")
		}
	}
	return nil
}

// currentStep is the first step that does not have its approvals yet, and the
// last one if all do.
func currentStep(r Request, said []Approval) int {
	for i, step := range r.Steps {
		if approvals(r, said, i) < step.Count {
			return i
		}
	}
	return max(len(r.Steps)-1, 0)
}

func approvals(r Request, said []Approval, step int) int {
	n := 0
	for _, a := range said {
		if a.Revision == r.Revision && a.Step == step && a.Approves {
			n++
		}
	}
	return n
}

// speak stores one person's word on r.
func (w *work) speak(ctx context.Context, set *policy.Set, c Caller, r *Request, approves bool, reason string, signature proof.Signature) (Approval, error) {
	said, err := w.tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return Approval{}, fmt.Errorf("approvals: %w", err)
	}
	a := Approval{
		ID: w.minter.NewApprovalID(w.now), Request: r.ID, Revision: r.Revision, Step: currentStep(*r, said),
		Approver: c.Principal, Person: set.PersonOf(c.Principal), OfferDigest: r.OfferDigest, Approves: approves, Reason: reason, Signature: signature, At: w.now,
	}
	err = w.tx.Approvals().Insert(ctx, a)
	if errors.Is(err, ErrExists) {
		return Approval{}, fault(CodeAlreadyDecided, "mayfly show "+r.ID.String(), "you have decided on this request already")
	}
	if err != nil {
		return Approval{}, fmt.Errorf("approval: %w", err)
	}
	return a, nil
}

func (w *work) approvalLeaf(ctx context.Context, a Approval) error {
	w.touch(a.Request.String())
	name, err := w.pseudonym(ctx, a.Approver)
	if err != nil {
		return err
	}
	signed, err := signatureHash(a.Signature)
	if err != nil {
		return err
	}
	_, err = w.leaf(ctx, audit.TypeApprovalGiven, a.Request.String(), approvalGiven{
		Approval: a.ID.String(), Request: a.Request.String(), Revision: strconv.Itoa(a.Revision), Step: strconv.Itoa(a.Step + 1),
		Approver: name, Offer: a.OfferDigest, Signed: signed,
	}, a.Request.String(), a.ID.String())
	return err
}

// advance moves r on after an approval of a step: more of it, the next one, or
// the grant.
func (w *work) advance(ctx context.Context, set *policy.Set, r *Request, step int) error {
	said, err := w.tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	if approvals(*r, said, step) < r.Steps[step].Count {
		return nil
	}
	if step+1 == len(r.Steps) {
		return w.reconsider(ctx, set, r)
	}
	r.StepBegan, r.DecideBy = w.now, w.now.Add(r.Steps[step+1].Within)
	if err := w.tx.Requests().Update(ctx, *r); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return w.tell(ctx, EventPending, r.ID.String())
}
