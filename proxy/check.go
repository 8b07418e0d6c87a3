package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
	"github.com/mayflyproxy/mayfly/trace"
)

// DecideWithin is Check's own limit: shorter than Envoy's ext_authz timeout of
// 5 s, so that a slow disk or control plane is a denial with its reason.
const DecideWithin = 4500 * time.Millisecond

// Peers proves who is at the other end; *spiffe.Verifier is one.
type Peers interface {
	VerifyEscapedPEM(text string, now time.Time) (spiffe.Peer, error)
}

// CheckerConfig configures a Checker. Fields without a word about it are
// required.
type CheckerConfig struct {
	Table    *Table
	Kinds    map[string]app.Kind // by name
	Peers    Peers
	Journal  Journal
	Reserver Reserver
	Sessions Sessions
	Actions  *Actions
	Minter   *grant.Minter
	// Asserter is asked for what apps with assert: true are told. Required where there
	// is one.
	Asserter Asserter
	// ServicesPort and ClientsPort are those under which callers reach the doors. Zero:
	// 443.
	ServicesPort, ClientsPort uint16
	RecordKey                 audit.PersonKey // makes the HMACs of attribute values that the record does not keep
	Denials                   *Denials        // remembers those that are recorded; nil: nobody does
	Traces                    *trace.Tracer   // nil: nobody sees them
	Log                       *slog.Logger    // nil discards
}

// Checker is Envoy's external authorization service: it decides every request.
// Every step can only say no. It is safe for concurrent use.
type Checker struct {
	authv3.UnimplementedAuthorizationServer
	c          CheckerConfig
	people     *people
	pages      *pages
	verifiers  verifiers
	nonces     *tokens.Nonces
	proofs     *tokens.Proofs
	assertions *assertions
}

// NewChecker checks c.
func NewChecker(c CheckerConfig) (*Checker, error) {
	if c.Table == nil || c.Kinds == nil || c.Peers == nil || c.Journal == nil || c.Reserver == nil || c.Sessions == nil || c.Actions == nil || c.Minter == nil || c.RecordKey.IsZero() {
		return nil, errors.New("checker: a required field of CheckerConfig is missing")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	people, err := newPeople()
	if err != nil {
		return nil, err
	}
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	out := &Checker{c: c, people: people, pages: pages}
	if out.nonces, err = tokens.NewNonces(); err != nil {
		return nil, err
	}
	if out.proofs, err = tokens.NewProofs(tokens.ProofConfig{Nonces: out.nonces, Replay: maxProofs}); err != nil {
		return nil, err
	}
	if out.assertions, err = newAssertions(); err != nil {
		return nil, err
	}
	return out, nil
}

// ruling is one request on its way to a decision: what is known of it so far.
type ruling struct {
	began   time.Duration // on the boot clock
	arrived time.Time     // on the wall clock, for the trace alone
	now     time.Time     // t, of the steps before the intent
	age     time.Duration // of the lease, when it was looked at
	r       *Request
	app     *App
	kind    app.Kind
	spec    scope.Spec
	cookies cookies // at the people door
	caller  caller
	op      scope.Operation
	grant   grant.Grant
	action  Action
	mark    Mark
	class   scope.Class
	// written is whether the intent is on the spool: a no from here on has an outcome.
	written bool
	// verdict is what would have been decided about a request that passes undecided: a
	// reason code, or would_allow. Empty: it is decided.
	verdict string
	// status is what a refusal has instead of its reason's, 0 if nothing.
	status int
	// own is whether the request is for a page of ours, not of the app.
	own bool
	// token is the one of ours that was presented and counted, nil without one.
	token *token
	// withheld is whether the caller's Authorization is ours, and no app's business.
	withheld bool
	// nonce is what the next proof is to contain, "" if none is told.
	nonce string
	// invalidProof is whether it is the proof that does not count, not the token.
	invalidProof bool
	// stepUp is what the person's login falls short of, nil if of nothing.
	stepUp *StepUp
	// assertion tells the app who calls, "" if it is not told so.
	assertion string
	// traced is the trace that the caller says it is in.
	traced trace.Caller
}

// Check implements envoy.service.auth.v3.Authorization.
func (c *Checker) Check(ctx context.Context, m *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, DecideWithin)
	defer cancel()
	v := &ruling{began: c.c.Table.clock.Boot(), arrived: c.c.Traces.Now()}
	own, err := c.decide(ctx, v, m)
	switch {
	case err != nil:
		return c.refuse(ctx, v, grant.Of(err)), nil
	case own != nil:
		return answered(*own), nil
	}
	return c.handOver(ctx, v), nil
}

// decide goes through the steps of design §5 up to the intent. The door is the
// route's word alone: what counts at one is nothing at the other. An answer is one
// of the people door's own pages.
func (c *Checker) decide(ctx context.Context, v *ruling, m *authv3.CheckRequest) (own *app.Response, err error) {
	var unread *grant.Denial
	v.r, unread = readRequest(m)
	v.now = c.c.Table.Now()
	v.age, _ = c.c.Table.Freshness()
	switch v.r.Door {
	case DoorServices:
		own, err = c.service(v, unread)
	case DoorPeople:
		own, err = c.person(ctx, v, unread)
	case DoorClients:
		own, err = c.client(v, unread)
	default:
		err = grant.Deny(grant.Internal, "the route names no door")
	}
	if err != nil || own != nil {
		return own, err
	}
	if err := c.countsHere(v); err != nil {
		return nil, err
	}
	if v.app.observed(v.now) {
		return nil, c.observe(ctx, v)
	}
	for _, step := range [...]func(*ruling) error{c.classify, c.findGrant, c.stepUp, c.intend} {
		if err := step(v); err != nil {
			return nil, err
		}
	}
	if err := c.assert(ctx, v); err != nil {
		return nil, err
	}
	return nil, c.commit(ctx, v)
}

// service goes through the steps of the services door up to who it is and which
// app it wants: a certificate counts there, and with it a token that is bound to it.
func (c *Checker) service(v *ruling, unread *grant.Denial) (*app.Response, error) {
	if err := c.identify(v); err != nil {
		return nil, err
	}
	if unread != nil {
		return nil, unread
	}
	if err := c.findApp(v); err != nil {
		return nil, err
	}
	if own, err := c.metadata(v); own != nil || err != nil {
		return own, err
	}
	if err := c.fresh(v); err != nil {
		return nil, err
	}
	return nil, c.bearer(v)
}

// fresh refuses once the lease is too old for the app. The record is told its age of just
// before that, and not one of when the intent is written: nothing was decided from it.
func (c *Checker) fresh(v *ruling) error {
	v.age, _ = c.c.Table.Freshness()
	return c.c.Table.Fresh(v.app.Name)
}

// identify turns the peer's certificate into a principal, on each request: a
// connection outlives its SVID.
func (c *Checker) identify(v *ruling) error {
	if err := c.c.Table.Ready(); err != nil {
		return err
	}
	peer, err := c.c.Peers.VerifyEscapedPEM(v.r.Certificate, v.now)
	switch {
	case err == nil:
		v.caller.principal, v.caller.certificate = peer.Principal, peer.SHA256
		return nil
	case v.r.Certificate == "":
		return grant.Deny(grant.NoIdentity, "the caller showed no certificate").Because(err)
	default:
		return grant.Deny(grant.BadCertificate, "the caller's certificate was refused: %s", spiffe.ReasonOf(err)).Because(err)
	}
}

// findApp joins server name, host, route, door and table: all must mean one app.
func (c *Checker) findApp(v *ruling) error {
	if !sameHost(v.r.SNI, v.r.HTTP.Authority) {
		v.status = http.StatusMisdirectedRequest // RFC 9110 §15.5.20
		return grant.Deny(grant.ConflictingHeaders, "the TLS server name is not the request's host")
	}
	a, ok := c.c.Table.AppByHost(hostOf(v.r.HTTP.Authority))
	if !ok || v.r.App != a.Name || !a.Takes(v.r.Door) {
		return grant.Deny(grant.UnknownApp, "no app answers to this host")
	}
	kind, ok := c.c.Kinds[a.Kind]
	if !ok {
		return grant.Deny(grant.UnknownApp, "this gateway does not know apps of kind %s", a.Kind)
	}
	v.app, v.kind = a, kind
	return nil
}

func (c *Checker) classify(v *ruling) error {
	// Envoy 1.40 can hand over the beginning of a body as if it were the whole, and
	// forward all of it; only this header of its own tells. A request that ends with
	// its headers has none.
	whole := v.r.HTTP.Header.Get(partialBody)
	if v.kind.Needs(v.r.HTTP.Method) == app.NeedsBody && whole != "false" && (whole != "" || v.r.HTTP.Body != nil) {
		return grant.Deny(grant.BodyTooLarge, "the body is larger than the %d bytes that can be decided on", app.MaxBody)
	}
	op, err := v.kind.Classify(&v.r.HTTP)
	if err != nil {
		return err
	}
	spec, ok := v.kind.Catalogue().Lookup(op.Name)
	if !ok || op.App != v.app.Name {
		return grant.Deny(grant.UnknownOperation, "the catalogue has no operation %s", op.Name)
	}
	op.Class = spec.Class
	v.op, v.spec, v.class = op, spec, spec.Class
	return nil
}

func (c *Checker) findGrant(v *ruling) error {
	now := v.now
	var presented grant.GrantID
	if v.token != nil {
		if err := v.token.Covers(v.op); err != nil {
			return c.c.Table.advised(v.caller.principal, v.op, now, v.token.Grant, err)
		}
		presented = v.token.Grant
	}
	g, err := c.c.Table.Find(v.caller.principal, v.op, now, presented)
	if err != nil {
		return err
	}
	v.grant, v.class = g, v.spec.Class.Stricter(g.Class)
	return nil
}

// intend makes the action that v's grant allows.
func (c *Checker) intend(v *ruling) error {
	now, g, secret := v.now, v.grant, ""
	if _, hop := v.kind.(app.Credentialed); hop != v.r.Hop {
		return grant.Deny(grant.Internal, "the route does not fit the kind of app")
	} else if hop {
		var ok bool
		if secret, ok = v.app.Secret(v.op.Name); !ok {
			return grant.Deny(grant.CredentialUnavailable, "policy names no credential for %s", v.op.Name)
		}
	}
	body, hasBody := v.r.BodyHash()
	v.action = Action{
		ID: c.c.Minter.NewActionID(now), Grant: g.ID, App: v.app.Name, Operation: v.op, Secret: secret, Key: v.caller.kid,
		Method: v.r.HTTP.Method, Authority: v.r.HTTP.Authority, Path: v.r.HTTP.Path, Body: body, HasBody: hasBody,
		Hop: v.r.Hop, Guard: v.r.Guard && !v.r.Hop, Decided: now, Principal: v.caller.principal, visit: v.caller.visit,
	}
	v.action.Limit = now.Add(v.app.longest(v.action.Guard))
	if s := v.caller.session; s != nil {
		v.action.Limit = earlier(v.action.Limit, s.Ends)
	}
	v.action.Deadline = earlier(g.NotAfter, v.action.Limit)
	c.beginTrace(v, false)
	return nil
}

// commit writes the intent and, where the class asks for it, has it acknowledged.
func (c *Checker) commit(ctx context.Context, v *ruling) error {
	began := v.action.Trace.Now()
	mark, err := c.c.Journal.Intent(ctx, audit.Intent{Grant: v.grant.ID.String(), Try: c.try(v)}, v.class.Writes())
	if err != nil {
		err = c.unwritten(ctx, v, err)
	}
	v.action.Trace.Step(trace.Intent, began, reasonText(err))
	if err != nil {
		return err
	}
	v.mark, v.written = mark, true
	if !v.class.Acknowledged() {
		return nil
	}
	began = v.action.Trace.Now()
	if err = c.c.Reserver.Reserve(ctx, v.action, v.class.String(), amountOf(v.op), mark); err != nil {
		err = unavailable(ctx, err, "the control plane did not acknowledge the intent")
	}
	v.action.Trace.Step(trace.Reserve, began, reasonText(err))
	return err
}

// unwritten says why an intent is not on the record. If the grant or the session
// ended while the disk was waited for, that is the reason.
func (c *Checker) unwritten(ctx context.Context, v *ruling, err error) error {
	now := c.c.Table.Now()
	var large *audit.TooLargeError
	gone := c.c.Table.lastWord(v.action, v.grant.ID, v.caller.visit, now)
	switch {
	case gone != nil:
		return gone
	case !now.Before(v.action.Deadline):
		return grant.Deny(grant.Timeout, "the decision took too long").Because(err)
	case errors.As(err, &large):
		return grant.Deny(grant.BodyTooLarge, "the request says more than a record holds").Because(err)
	}
	return unavailable(ctx, err, "the intent cannot be written")
}

// unavailable keeps a denial as it is and makes record_unavailable of the rest.
func unavailable(ctx context.Context, err error, sentence string) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		return d
	}
	if ctx.Err() != nil {
		sentence += " in time"
	}
	return grant.Deny(grant.RecordUnavailable, "%s", sentence).Because(err)
}

// handOver is the last look and the answer: nothing waits in between. When ctx
// ends after it, Envoy has refused the request by itself and nobody tells: the
// action stays open until the sweep writes that its outcome is unknown, or that
// the hop never saw it.
func (c *Checker) handOver(ctx context.Context, v *ruling) *authv3.CheckResponse {
	bound := v.action.Deadline
	if v.action.Hop || v.action.Guard {
		bound = time.Time{} // the hop or the guard looks again, and cuts
	}
	to := tell(v)
	tellTrace(v, &to)
	var answer *authv3.CheckResponse
	err := c.c.Actions.Put(v.action)
	act := func() error {
		now := c.c.Table.Now()
		if err := ctx.Err(); err != nil || !now.Before(v.action.Deadline) {
			return grant.Deny(grant.Timeout, "the decision took too long").Because(err)
		}
		answer = allowed(v.action, to, now, c.c.Table.clock.Boot()-v.began)
		return nil
	}
	switch {
	case err != nil:
	case v.action.Observed:
		err = c.c.Table.lastPass(v.action, v.caller.visit, bound, act)
	default:
		err = c.c.Table.lastLook(v.grant.ID, v.caller.visit, v.action.ID, bound, act)
	}
	if err != nil {
		return c.refuse(ctx, v, grant.Of(err))
	}
	v.action.Trace.Checked("")
	return answer
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
