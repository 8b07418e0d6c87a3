package access

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// The kinds of event in the outbox.
const (
	EventPending = "request.pending" // somebody is asked for a decision
	EventDecided = "request.decided" // approved, denied, withdrawn or expired
	EventGranted = "grant.created"
	EventEnded   = "grant.ended" // by time, revoke, finish or policy
)

// open stores a new request as policy's decision leaves it, with its Offer and
// leaves; a granted one becomes a grant at once.
func (w *work) open(ctx context.Context, set *policy.Set, r *Request, d policy.Decision) error {
	var offer []byte
	switch d.Outcome {
	case policy.Granted, policy.NeedsApproval:
		if d.Outcome == policy.NeedsApproval {
			if len(d.Steps) == 0 {
				return fmt.Errorf("policy %s asks for approval by nobody", set.Digest())
			}
			r.Steps, r.StepBegan, r.DecideBy = stepsOf(d.Steps), w.now, w.now.Add(d.Steps[0].Within)
		}
		var err error
		if offer, err = w.offer(ctx, set, r, d); err != nil {
			return err
		}
	default:
		r.State, r.Code, r.DecidedAt = Denied, d.Code, w.now
	}
	if err := w.tx.Requests().Insert(ctx, *r, offer); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := w.openLeaves(ctx, r); err != nil {
		return err
	}
	if err := w.decided(ctx, r, AtRequest); err != nil {
		return err
	}
	switch d.Outcome {
	case policy.Granted:
		return w.activate(ctx, r, d, "rule")
	case policy.NeedsApproval:
		return w.tell(ctx, EventPending, r.ID.String())
	default:
		return w.closed(ctx, r, audit.TypeRequestDenied, requestClosed{Request: r.ID.String(), Code: r.Code, How: "policy"})
	}
}

// offer makes the Offer of r and notes it there.
func (w *work) offer(ctx context.Context, set *policy.Set, r *Request, d policy.Decision) ([]byte, error) {
	requester, err := w.party(ctx, set, r.Requester)
	if err != nil {
		return nil, err
	}
	beneficiary, err := w.party(ctx, set, r.Beneficiary)
	if err != nil {
		return nil, err
	}
	o := offerOf(set, d)
	o.Request, o.Revision, o.Entitlement, o.Reason = r.ID.String(), strconv.Itoa(r.Revision), r.Entitlement, r.Reason
	o.Requester, o.Beneficiary = requester, beneficiary
	start := w.now
	for _, s := range d.Steps {
		start = start.Add(s.Within)
	}
	o.StartBy = audit.At(start.Truncate(time.Microsecond))
	b, digest, err := o.Encode()
	if err != nil {
		return nil, err
	}
	r.Offer, r.OfferDigest = w.minter.NewOfferID(w.now), digest
	return b, nil
}

func (w *work) party(ctx context.Context, set *policy.Set, p identity.Principal) (Party, error) {
	name, err := shown(ctx, w.tx, p)
	if err != nil {
		return Party{}, err
	}
	return Party{Principal: p.String(), Person: set.PersonOf(p).String(), Shown: name}, nil
}

func (w *work) openLeaves(ctx context.Context, r *Request) error {
	requester, err := w.pseudonym(ctx, r.Requester)
	if err != nil {
		return err
	}
	beneficiary, err := w.pseudonym(ctx, r.Beneficiary)
	if err != nil {
		return err
	}
	id := r.ID.String()
	if _, err := w.leaf(ctx, audit.TypeRequestCreated, id, requestCreated{
		Request: id, Requester: requester, Beneficiary: beneficiary, Entitlement: r.Entitlement, App: r.App, Duration: seconds(r.Duration),
	}, id); err != nil {
		return err
	}
	if r.Offer.IsZero() {
		return nil
	}
	_, err = w.leaf(ctx, audit.TypeOfferMade, id, offerMade{
		Offer: r.Offer.String(), Request: id, Revision: strconv.Itoa(r.Revision), Digest: r.OfferDigest,
	}, id, r.Offer.String())
	return err
}

// decided appends the leaf of the newest decision in r's basis.
func (w *work) decided(ctx context.Context, r *Request, when string) error {
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return err
	}
	d := basis.Decisions[len(basis.Decisions)-1]
	hash, err := d.hash()
	if err != nil {
		return err
	}
	id := r.ID.String()
	_, err = w.leaf(ctx, audit.TypeDecisionMade, id, decisionMade{
		Request: id, When: when, Outcome: d.Outcome, Code: d.Code, Policy: d.Inputs.Policy, Commit: d.Inputs.Commit,
		Engine: d.Inputs.Engine, Catalogue: d.Inputs.Catalogue, Decision: hash,
	}, id)
	return err
}

// closed appends the leaf that r is decided and tells of it. The row is the
// caller's to write.
func (w *work) closed(ctx context.Context, r *Request, t audit.Type, body requestClosed) error {
	if _, err := w.leaf(ctx, t, r.ID.String(), body, r.ID.String()); err != nil {
		return err
	}
	return w.tell(ctx, EventDecided, r.ID.String())
}

// finishRequest moves a pending request to state, with its leaf.
func (w *work) finishRequest(ctx context.Context, r *Request, state RequestState, t audit.Type, code, sentence string, by identity.Principal) error {
	if r.State != Pending {
		return fmt.Errorf("request %s is %s, not pending", r.ID, r.State)
	}
	body := requestClosed{Request: r.ID.String(), Code: code, How: "time"}
	if !by.IsZero() {
		name, err := w.pseudonym(ctx, by)
		if err != nil {
			return err
		}
		body.By, body.How = name, "person"
	}
	switch {
	case code == string(grant.PolicyChanged):
		body.How = "policy"
	case code == string(CodeLocked):
		body.How = "lock"
	}
	r.State, r.Code, r.Sentence, r.DecidedAt, r.DecideBy = state, code, sentence, w.now, time.Time{}
	if err := w.tx.Requests().Update(ctx, *r); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return w.closed(ctx, r, t, body)
}
