package access

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// Ask is what somebody asks for.
type Ask struct {
	Entitlement string
	Params      map[string]string  // as typed
	Duration    time.Duration      // 0: the entitlement's default
	Reason      string             // in the asker's words
	For         identity.Principal // who would hold the grant; zero: the caller
	// IdempotencyKey makes a repeated call answer with the first one's request,
	// for 24 h. Empty: every call asks anew.
	IdempotencyKey string
}

const (
	maxReason = policy.MaxJustification // bytes
	maxParams = 64
	maxParam  = 1024 // bytes
	maxKey    = 128  // bytes
)

// checkBy checks what needs no policy: that somebody asks, and in bounds.
func (a Ask) checkBy(c Caller) error {
	if c.Principal.IsZero() {
		return fault(CodeNoSession, "mayfly login", "nobody can ask for nobody")
	}
	return a.check()
}

func (a Ask) check() error {
	if len(a.Reason) > maxReason || !utf8.ValidString(a.Reason) {
		return fault(CodeInvalid, "", "the reason is not text of at most %d bytes", maxReason)
	}
	if len(a.Params) > maxParams || len(a.IdempotencyKey) > maxKey || len(a.Entitlement) > maxParam {
		return fault(CodeInvalid, "", "too many parameters, or a name or key that is too long")
	}
	for name, value := range a.Params {
		if len(name) > maxParam || len(value) > maxParam || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fault(CodeInvalid, "", "parameter %q is not text of at most %d bytes", clip(name), maxParam)
		}
	}
	if a.Duration < 0 || a.Duration%time.Second != 0 {
		return fault(CodeInvalid, "", "the duration is not whole seconds")
	}
	return nil
}

// Bodies of leaves. Persons stand in them as pseudonyms; what may be personal
// stands in them by hash.
type (
	requestCreated struct {
		Request     string `json:"request"`
		Requester   string `json:"requester"`
		Beneficiary string `json:"beneficiary"`
		Entitlement string `json:"entitlement"`
		App         string `json:"app"`
		Duration    string `json:"duration_s"`
	}
	offerMade struct {
		Offer    string `json:"offer"`
		Request  string `json:"request"`
		Revision string `json:"revision"`
		Digest   string `json:"digest"`
	}
	decisionMade struct {
		Request   string `json:"request"`
		When      string `json:"when"`
		Outcome   string `json:"outcome"`
		Code      string `json:"code,omitempty"`
		Policy    string `json:"policy"`
		Commit    string `json:"commit,omitempty"`
		Engine    string `json:"engine"`
		Catalogue string `json:"catalogue,omitempty"`
		Decision  string `json:"decision"` // SHA-256 of the stored decision
	}
	requestClosed struct {
		Request string `json:"request"`
		Code    string `json:"code,omitempty"`
		By      string `json:"by,omitempty"`
		How     string `json:"how,omitempty"`
	}
)

// idempotent is what a repeated Request is answered from.
type idempotent struct {
	Ask     string          `json:"ask"`
	Request grant.RequestID `json:"request"`
}

const routeRequest = "request"

// Request asks for an entitlement. The answer is the request as it stands:
// approved with a grant, pending, or denied with Code and Sentence; a denial by
// policy is stored and can be explained. What cannot be understood (an unknown
// entitlement, a bad parameter or duration), is a Fault and nothing is stored.
func (s *Service) Request(ctx context.Context, c Caller, a Ask) (Request, error) {
	if err := a.checkBy(c); err != nil {
		return Request{}, err
	}
	digest, err := a.digest()
	if err != nil {
		return Request{}, err
	}
	var out Request
	err = s.update(ctx, func(w *work) error {
		var before idempotent
		again, err := w.replay(ctx, c.Principal, routeRequest, a.IdempotencyKey, &before)
		if err != nil {
			return err
		}
		if again {
			if before.Ask != digest {
				return fault(CodeKeyReused, "use a new key", "this idempotency key belongs to another request")
			}
			out, err = w.tx.Requests().Get(ctx, before.Request)
			return err
		}
		if out, err = w.request(ctx, c, a); err != nil {
			return err
		}
		return w.remember(ctx, c.Principal, routeRequest, a.IdempotencyKey, idempotent{digest, out.ID})
	})
	if err != nil {
		return Request{}, err
	}
	return out, nil
}

func (a Ask) digest() (string, error) {
	b, err := audit.CanonicalJSON(map[string]any{
		"entitlement": a.Entitlement, "params": orEmpty(a.Params), "duration": a.Duration.String(),
		"reason": a.Reason, "for": a.For.String(),
	})
	if err != nil {
		return "", fault(CodeInvalid, "", "the request is not text")
	}
	return audit.SHA256(b).String(), nil
}

func (w *work) request(ctx context.Context, c Caller, a Ask) (Request, error) {
	set, q, err := w.consider(ctx, c, a)
	if err != nil {
		return Request{}, err
	}
	r, err := w.newRequest(ctx, set, c, a, q.Decision)
	if err != nil {
		return Request{}, err
	}
	if err := w.open(ctx, set, &r, q.Decision); err != nil {
		return Request{}, err
	}
	return r, nil
}

// asked is a question that policy has answered.
type asked struct {
	policy.Input
	policy.Decision
}

// consider asks policy, for Request and Preview alike. What is not worth a stored
// request is a Fault. It writes nothing.
func (w *work) consider(ctx context.Context, c Caller, a Ask) (*policy.Set, asked, error) {
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return nil, asked{}, err
	}
	for _, p := range slices.Compact([]identity.Principal{c.Principal, w.beneficiary(c, a)}) {
		if err := known(set, p); err != nil {
			return nil, asked{}, err
		}
		if err := w.notLocked(ctx, set, p); err != nil {
			return nil, asked{}, err
		}
	}
	in, err := w.question(ctx, set, c, a)
	if err != nil {
		return nil, asked{}, err
	}
	d := set.Decide(in)
	return set, asked{in, d}, w.askable(ctx, set, c, d)
}

// question is what policy is asked about an Ask.
func (w *work) question(ctx context.Context, set *policy.Set, c Caller, a Ask) (policy.Input, error) {
	signed, err := w.signedAt(ctx, w.tx, set, c.Principal)
	if err != nil {
		return policy.Input{}, err
	}
	return policy.Input{
		Entitlement: a.Entitlement, Params: a.Params, Duration: a.Duration, Justification: a.Reason,
		Beneficiary: w.beneficiary(c, a), Now: w.now,
		Requester: policy.Requester{Principal: c.Principal, Person: set.PersonOf(c.Principal), Groups: c.Groups, GroupsAt: c.GroupsAt, ACR: c.ACR, SignedAt: signed},
	}, nil
}

func (w *work) beneficiary(c Caller, a Ask) identity.Principal {
	if a.For.IsZero() {
		return c.Principal
	}
	return a.For
}

// askable turns what is not worth a stored request into a Fault: what was not
// understood, groups that are too old, and too many that wait already.
func (w *work) askable(ctx context.Context, set *policy.Set, c Caller, d policy.Decision) error {
	switch {
	case d.Outcome == policy.Denied && d.Code == policy.DenyLoginAgain:
		return fault(CodeLoginAgain, "mayfly login", "%s", d.Sentence)
	case d.Outcome == policy.Denied && misunderstood(d.Code):
		return fault(CodeInvalid, "mayfly entitlements", "%s", d.Sentence)
	case d.Outcome != policy.NeedsApproval:
		return nil
	}
	n, err := w.tx.Requests().CountPending(ctx, c.Principal)
	if err != nil {
		return fmt.Errorf("pending requests: %w", err)
	}
	if limit := set.Caps().PendingPerPrincipal; n >= limit {
		return fault(CodePendingLimit, "mayfly requests", "%d of your requests are waiting, and the limit is %d: withdraw one, or wait", n, limit)
	}
	return nil
}

func misunderstood(code string) bool {
	return code == policy.DenyUnknownEntitlement || code == policy.DenyParam || code == policy.DenyDuration
}

func (w *work) newRequest(ctx context.Context, set *policy.Set, c Caller, a Ask, d policy.Decision) (Request, error) {
	var accounts []policy.Account
	for _, p := range slices.Compact([]identity.Principal{c.Principal, w.beneficiary(c, a)}) {
		own, err := accountsOf(ctx, w.tx, set, p)
		if err != nil {
			return Request{}, err
		}
		accounts = append(accounts, own...)
	}
	b, err := basisOf(AtRequest, set, d)
	if err != nil {
		return Request{}, err
	}
	inputs, err := Basis{Accounts: texts(accounts), Emails: emails(accounts), Decisions: []BasisDecision{b}}.encode()
	if err != nil {
		return Request{}, err
	}
	r := Request{
		ID: w.minter.NewRequestID(w.now), Revision: 1, Requester: c.Principal, RequesterPerson: set.PersonOf(c.Principal),
		Beneficiary: w.beneficiary(c, a), Entitlement: a.Entitlement, App: d.Expansion.App, Params: orEmpty(d.Expansion.Params),
		Duration: d.Duration, Reason: a.Reason, State: Pending, Sentence: d.Sentence,
		PolicyCommit: set.Commit(), PolicyDigest: set.Digest(), Engine: policy.EngineVersion(), Catalogue: d.Expansion.Catalogue,
		Inputs: inputs, CreatedAt: w.now,
	}
	if d.Outcome == policy.Denied { // what was asked for, where nothing would be granted
		r.Duration, r.Params = a.Duration, orEmpty(a.Params)
		if e, ok := set.Entitlement(a.Entitlement); ok {
			r.App = e.App
		}
	}
	return r, nil
}
