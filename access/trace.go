package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// maxTraced bounds the actions of one trace.
const maxTraced = 500

// Traced is one record of a chain.
type Traced struct {
	Place  Place // Spool empty: a leaf of the control log
	Record audit.Record
}

// Trace is everything on record about one chain: request, offer, decisions,
// approvals, grant, actions, end.
type Trace struct {
	ID        string // that was asked for
	Request   *RequestView
	Grant     *GrantView
	Joint     []Standing        // of a bundle that was granted: each of its grants
	Records   []Traced          // by time, then place
	Shown     map[string]string // pseudonym to name, for those not erased
	Truncated bool              // there are more actions than are listed
	// TraceIDs are the traces that were exported, by the id of the request or action
	// whose they are: 32 hexadecimal digits, as a collector knows them.
	TraceIDs map[string]string
}

// Trace returns the chain that any id belongs to: a request, an offer, an
// approval, a grant, an action, a denial. It is for whoever holds the grant, or
// may see the request, which then comes without the use. What others did is read
// under a grant of traces.read, by the security group too, and that it was read is
// on the record.
func (s *Service) Trace(ctx context.Context, c Caller, id string) (Trace, error) {
	var out Trace
	var security bool
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		security = v.security
		v.security = false // who may end access does not thereby read what was done with it
		out, err = newTracer(v, tx, id).run(ctx, id)
		return err
	})
	switch {
	case CodeOf(err) == CodeNotFound || CodeOf(err) == CodeLoginAgain:
		return s.traceOthers(ctx, c, id, security, err)
	case err != nil:
		return Trace{}, err
	case out.Grant == nil && out.Request != nil && !out.Request.Grant.IsZero():
		if more, err := s.traceOthers(ctx, c, id, false, notFound(id)); err == nil {
			return more, nil
		}
	}
	return s.named(out), nil
}

// named adds the trace of the request, if this process exports it.
func (s *Service) named(t Trace) Trace {
	if t.Request == nil {
		return t
	}
	if id, _, exported := s.traces.Requested(t.Request.ID); exported {
		t.TraceIDs[t.Request.ID.String()] = id.String()
	}
	return t
}

// traceRead is the body of the leaf administration that says whose trace was read.
type traceRead struct {
	Operation string `json:"operation"`
	Under     string `json:"under"`     // the grant
	By        string `json:"by"`        // pseudonym
	About     string `json:"about"`     // the id that was asked for
	Principal string `json:"principal"` // pseudonym of whose trace it is
}

// traceOthers reads somebody else's trace under a grant of traces.read, and
// writes down that it did. Without one the answer is refusal; who is of the
// security group learns what to ask for.
func (s *Service) traceOthers(ctx context.Context, c Caller, id string, security bool, refusal error) (Trace, error) {
	var out Trace
	err := s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		v := &viewer{Caller: c, set: set, now: w.now, security: true}
		if out, err = newTracer(v, w.tx, id).run(ctx, id); err != nil {
			return err
		}
		app, whose := out.about()
		principal, err := w.tx.Persons().ByPseudonym(ctx, whose)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("pseudonym: %w", err)
		}
		text := principal.String()
		if text == "" {
			text = whose // a workload that never asked, or an erased person
		}
		under, err := w.acting(ctx, w.tx, set, c, own(policy.OwnTracesRead, map[string]string{
			policy.OwnAttributeApp: app, policy.OwnAttributePrincipal: text,
		}))
		if err != nil {
			return err
		}
		by, err := w.pseudonym(ctx, c.Principal)
		if err != nil {
			return err
		}
		_, err = w.leaf(ctx, audit.TypeAdministration, under.ID.String(), traceRead{
			Operation: policy.OwnTracesRead, Under: under.ID.String(), By: by, About: clip(id), Principal: whose,
		}, under.ID.String())
		return err
	})
	switch code := CodeOf(err); {
	case err == nil:
		return s.named(out), nil
	case code == CodeNoGrant && security, code == CodeInternal:
		return Trace{}, err
	default:
		return Trace{}, refusal
	}
}

// about returns the app of a chain and the pseudonym of whose it is. One of a bundle is
// about no one app: who may read the traces of one app only may not read it.
func (t Trace) about() (app, pseudonym string) {
	if len(t.Joint) > 0 {
		return "", t.Grant.Pseudonym
	}
	if t.Grant != nil {
		return t.Grant.Scope.App, t.Grant.Pseudonym
	}
	for _, r := range t.Records {
		body, err := r.Record.Map()
		if err != nil {
			continue
		}
		a, _ := body["app"].(string)
		p, _ := body["principal"].(string)
		if p == "" {
			p, _ = body["requester"].(string)
		}
		if p != "" {
			return a, p
		}
	}
	return "", ""
}

// tracer gathers one chain.
type tracer struct {
	*viewer
	tx   Tx
	read reader
	out  *Trace
	seen map[Place]bool
}

func newTracer(v *viewer, tx Tx, id string) *tracer {
	return &tracer{viewer: v, tx: tx, read: reader{tx: tx}, out: &Trace{ID: id, Shown: map[string]string{}, TraceIDs: map[string]string{}}, seen: map[Place]bool{}}
}

func (t *tracer) run(ctx context.Context, id string) (Trace, error) {
	if err := t.chain(ctx, id); err != nil {
		return Trace{}, err
	}
	return *t.out, nil
}

func (t *tracer) chain(ctx context.Context, id string) error {
	request, grantID, err := t.resolve(ctx, id)
	if err != nil {
		return err
	}
	if grantID.IsZero() && request.IsZero() {
		return t.lone(ctx, id)
	}
	if !grantID.IsZero() {
		g, err := t.grant(ctx, t.tx, grantID)
		if err != nil {
			return hide(err, id)
		}
		t.out.Grant, request = &g, g.Request
	}
	if request.IsZero() { // the first administrator's grant was not asked for
		if err := t.actions(ctx, t.out.Grant.ID.String()); err != nil {
			return err
		}
		return t.finish(ctx)
	}
	r, err := t.request(ctx, t.tx, request)
	if err != nil {
		return hide(err, id)
	}
	if !grantID.IsZero() && len(r.Joint) > 1 && t.out.Grant.Principal != t.Principal {
		// The request is about all of the bundle, and may be for others to read.
		if err := t.actions(ctx, grantID.String()); err != nil {
			return err
		}
		return t.finish(ctx)
	}
	t.out.Request = &r
	if t.out.Grant == nil && r.GrantNow != nil {
		if g, err := t.grant(ctx, t.tx, r.Grant); err == nil { // an approver sees the request, not the use
			t.out.Grant = &g
		} else if CodeOf(err) == CodeInternal {
			return err
		}
	}
	if err := t.gather(ctx, r.ID.String()); err != nil {
		return err
	}
	if t.out.Grant != nil {
		ids := []grant.GrantID{t.out.Grant.ID}
		if grantID.IsZero() { // the request was asked for: all that came of it
			t.out.Joint = r.Joint
			for _, one := range r.Joint {
				if one.ID != t.out.Grant.ID {
					ids = append(ids, one.ID)
				}
			}
		}
		for _, one := range ids {
			if err := t.actions(ctx, one.String()); err != nil {
				return err
			}
		}
	}
	return t.finish(ctx)
}

// hide answers about the id that was asked for, not about one it led to.
func hide(err error, id string) error {
	if CodeOf(err) == CodeNotFound {
		return notFound(id)
	}
	return err
}

// resolve finds the request or the grant that an id belongs to; both are zero
// for a denial without a grant.
func (t *tracer) resolve(ctx context.Context, id string) (grant.RequestID, grant.GrantID, error) {
	var request grant.RequestID
	var granted grant.GrantID
	switch prefix, _, _ := strings.Cut(id, "_"); prefix {
	case "req":
		if request.UnmarshalText([]byte(id)) != nil {
			return request, granted, notFound(id)
		}
		return request, granted, nil
	case "grt":
		if granted.UnmarshalText([]byte(id)) != nil {
			return request, granted, notFound(id)
		}
		return request, granted, nil
	}
	records, err := t.records(ctx, id)
	if err != nil {
		return request, granted, err
	}
	if len(records) == 0 {
		return request, granted, notFound(id)
	}
	for _, r := range records {
		body, err := r.Record.Map()
		if err != nil {
			return request, granted, err
		}
		if text, ok := body["grant"].(string); ok && granted.UnmarshalText([]byte(text)) == nil {
			return request, granted, nil
		}
		if text, ok := body["request"].(string); ok && request.UnmarshalText([]byte(text)) == nil {
			return request, granted, nil
		}
	}
	return grant.RequestID{}, grant.GrantID{}, nil
}

// lone traces an id that belongs to no request: a denial, or what passed undecided.
func (t *tracer) lone(ctx context.Context, id string) error {
	records, err := t.records(ctx, id)
	if err != nil {
		return err
	}
	var names []string
	if !t.security {
		if names, err = namesOf(ctx, t.tx, t.Principal); err != nil {
			return err
		}
	}
	for _, r := range records {
		body, err := r.Record.Map()
		if err != nil {
			return err
		}
		principal, _ := body["principal"].(string)
		outcome := r.Record.Type == audit.TypeActionOutcome && len(t.out.Records) > 0 // of the action whose it was
		if !t.security && !outcome && !slices.Contains(names, principal) {
			return t.refuse(id)
		}
		t.add(r)
	}
	return t.finish(ctx)
}

// actions gathers the leaves of a grant, and the records of its actions.
func (t *tracer) actions(ctx context.Context, id string) error {
	records, err := t.records(ctx, id)
	if err != nil {
		return err
	}
	n := 0
	for _, r := range records {
		t.add(r)
		_, action, err := actionUnder(r.Record)
		if err != nil {
			return err
		}
		if action == "" {
			continue
		}
		if n++; n > maxTraced {
			t.out.Truncated = true
			return nil
		}
		if err := t.gather(ctx, action); err != nil {
			return err
		}
	}
	return nil
}

// actionUnder returns the action that a record puts under a grant, and the grant; both
// are empty if it puts none.
func actionUnder(r audit.Record) (under, action string, err error) {
	switch r.Type {
	case audit.TypeActionIntent:
		var b audit.Intent
		err := r.Into(&b)
		return b.Grant, b.Action, err
	case audit.TypeActionRebound:
		var b audit.Rebound
		err := r.Into(&b)
		return b.Grant, b.Action, err
	case audit.TypeActionObserved:
		var b audit.Observed
		err := r.Into(&b)
		return b.Grant, b.Action, err
	default:
		return "", "", nil
	}
}

func (t *tracer) gather(ctx context.Context, id string) error {
	records, err := t.records(ctx, id)
	for _, r := range records {
		t.add(r)
	}
	return err
}

func (t *tracer) add(r Traced) {
	if !t.seen[r.Place] {
		t.seen[r.Place] = true
		t.out.Records = append(t.out.Records, r)
	}
}

// records reads what is indexed under an id.
func (t *tracer) records(ctx context.Context, id string) ([]Traced, error) {
	places, err := t.tx.Spools().Find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	const most = 4 * maxTraced
	if len(places) > most {
		places, t.out.Truncated = places[:most], true
	}
	var out []Traced
	read := Place{} // the last record that was read of a segment, and all before it
	for _, p := range places {
		if p.Spool != "" && p.Spool == read.Spool && p.Seq <= read.Seq {
			continue
		}
		named, err := t.read.named(ctx, p, id)
		if err != nil {
			return nil, err
		}
		if len(named) > 0 {
			read = named[len(named)-1].Place
		}
		if out = append(out, named...); len(out) > most {
			t.out.Truncated = true
			return out[:most], nil
		}
	}
	return out, nil
}

// finish sorts the records and names whoever stands in them.
func (t *tracer) finish(ctx context.Context) error {
	slices.SortStableFunc(t.out.Records, func(a, b Traced) int {
		if c := a.Record.Time.Compare(b.Record.Time); c != 0 {
			return c
		}
		if a.Place.Spool == b.Place.Spool && a.Place.Seq < b.Place.Seq {
			return -1
		}
		return 0
	})
	for _, r := range t.out.Records {
		body, err := r.Record.Map()
		if err != nil {
			return err
		}
		t.traceID(r.Record.Type, body)
		for _, value := range body {
			if text, ok := value.(string); ok && strings.HasPrefix(text, "p_") {
				if err := t.name(ctx, text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// traceID notes the trace of an action, which its intent or denial names if it was
// exported.
func (t *tracer) traceID(of audit.Type, body map[string]any) {
	if of != audit.TypeActionIntent && of != audit.TypeActionObserved && of != audit.TypeActionDenied {
		return
	}
	action, _ := body["action"].(string)
	if id, _ := body["trace"].(string); id != "" && action != "" {
		t.out.TraceIDs[action] = id
	}
}

func (t *tracer) name(ctx context.Context, pseudonym string) error {
	if _, ok := t.out.Shown[pseudonym]; ok {
		return nil
	}
	p, err := t.tx.Persons().ByPseudonym(ctx, pseudonym)
	if err != nil {
		if missing(err, "") != err {
			return nil // erased, or never ours
		}
		return fmt.Errorf("pseudonym: %w", err)
	}
	name, err := shown(ctx, t.tx, p)
	if err != nil {
		return err
	}
	if p.Kind() == identity.KindUser && name == p.String() && t.set != nil {
		name = t.set.PersonOf(p).String()
	}
	t.out.Shown[pseudonym] = name
	return nil
}
