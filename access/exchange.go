package access

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// maxTokenRules is how many operations a token has room for.
const maxTokenRules = 64

// tokenIssued is the body of the leaf token.issued.
type tokenIssued struct {
	Token     string     `json:"token"`
	Grant     string     `json:"grant"`
	Request   string     `json:"request"`
	Principal string     `json:"principal"`     // pseudonym
	Act       []string   `json:"act,omitempty"` // pseudonyms, the outermost first
	Client    string     `json:"client"`
	App       string     `json:"app"`
	Audience  string     `json:"audience"`
	Proof     string     `json:"proof"`
	From      string     `json:"from,omitempty"` // the token that was exchanged
	Bound     string     `json:"bound"`          // certificate or key
	Scope     []string   `json:"operations"`
	Ends      audit.Time `json:"ends"`
}

// IssueToken issues an access token for one live grant of the subject on the app of
// the resource: of those that the detail fits the one ending last, on a tie the
// smallest id (contracts §4). It ends with the grant, with what proved the subject,
// and after tokens.MaxLife. Its rights are the grant's, or the part of them that the
// detail asks for; a detail that asks for more is refused, never cut.
//
// A token of ours is exchanged only by the app that it names, for apps to which the
// entitlements behind it let that app pass access on, and never back to an app where
// it has been: rights on one app never grow along a chain.
func (s *Service) IssueToken(ctx context.Context, a TokenAsk) (IssuedToken, error) {
	if err := a.check(); err != nil {
		return IssuedToken{}, err
	}
	var out IssuedToken
	err := s.update(ctx, func(w *work) (err error) {
		out, err = w.issue(ctx, a)
		return err
	})
	if err != nil {
		return IssuedToken{}, err
	}
	return out, nil
}

// check refuses what no caller of this process may ask.
func (a TokenAsk) check() error {
	switch {
	case a.Subject.IsZero(), a.ClientID == "":
		return errors.New("a token for nobody")
	case (a.Proof == ProofSession) == a.Session.IsZero(), (a.Proof == ProofToken) != (a.Token != nil):
		return fmt.Errorf("proof %q of a token's subject is not whole", a.Proof)
	case a.Proof == ProofToken && (a.Actor.IsZero() || a.Token.Subject != a.Subject || a.Until.IsZero()):
		return errors.New("whoever exchanges a token acts for its subject")
	case (a.Proof == ProofIDToken) != (a.Once != "" && !a.OnceEnds.IsZero()):
		return errors.New("an ID token counts once, and says until when")
	case a.Actor == a.Subject:
		return fault(CodeInvalid, "", "nobody acts for themselves")
	}
	return nil
}

func (w *work) issue(ctx context.Context, a TokenAsk) (IssuedToken, error) {
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return IssuedToken{}, err
	}
	app, err := resourceApp(set, a.Resource)
	if err != nil {
		return IssuedToken{}, err
	}
	ends, err := w.provenUntil(ctx, set, a)
	if err != nil {
		return IssuedToken{}, err
	}
	onward, err := w.passesOn(ctx, set, a, app)
	if err != nil {
		return IssuedToken{}, err
	}
	g, details, err := w.grantFor(ctx, a, app)
	if err != nil {
		return IssuedToken{}, err
	}
	c, err := w.claims(ctx, a, app, g, ends)
	if err != nil {
		return IssuedToken{}, err
	}
	if c.Details = details; len(details[0].Scope.Rules) > maxTokenRules {
		return IssuedToken{}, fault(CodeInvalidDetails, "", "a token has room for %d operations: ask for those that are needed by authorization details", maxTokenRules)
	}
	text, err := w.signToken(ctx, w.tx, c)
	if errors.Is(err, tokens.ErrTooLong) {
		return IssuedToken{}, fault(CodeInvalidDetails, "", "the token would be too long: ask for those operations that are needed by authorization details")
	}
	if err != nil {
		return IssuedToken{}, fmt.Errorf("sign a token: %w", err)
	}
	if a.Token != nil {
		row := OnwardToken{ID: c.ID, Grant: g.ID, Onward: both(onward, onwardOf(set, g)), Ends: c.Expires}
		if err := w.tx.Tokens().Insert(ctx, row); err != nil {
			return IssuedToken{}, fmt.Errorf("token: %w", err)
		}
	}
	if a.Once != "" { // last: what is refused for another reason uses nothing up
		if err := w.useUp(ctx, a.Once, a.OnceEnds); err != nil {
			return IssuedToken{}, err
		}
	}
	return IssuedToken{Text: text, Claims: c}, w.recordToken(ctx, a, app, c)
}

// resourceApp returns the app whose resource it is, spelled as policy does.
func resourceApp(set *policy.Set, resource string) (policy.App, error) {
	u, err := url.Parse(resource)
	if err == nil {
		if a, ok := set.AppByHost(u.Host); ok && a.Resource() == resource {
			return a, nil
		}
	}
	return policy.App{}, fault(CodeInvalidTarget, "mayfly entitlements", "the resource is no app's: want https:// and its first host, and nothing else")
}

// provenUntil refuses a subject or actor that nothing is granted to now, and returns when
// its proofs end, zero for never.
func (w *work) provenUntil(ctx context.Context, set *policy.Set, a TokenAsk) (time.Time, error) {
	for _, p := range append([]identity.Principal{a.Subject}, actors(a)...) {
		if err := known(set, p); err != nil {
			return time.Time{}, err
		}
		if err := w.notLocked(ctx, set, p); err != nil {
			return time.Time{}, err
		}
	}
	if a.Session.IsZero() {
		return a.Until, nil
	}
	got, err := w.tx.Sessions().ByID(ctx, a.Session)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return time.Time{}, fmt.Errorf("session: %w", err)
	}
	if err != nil || got.Kind != SessionAPI || got.Principal != a.Subject || !got.Live(w.now) {
		return time.Time{}, fault(CodeNoSession, "mayfly login", "there is no session, or it has ended")
	}
	return earlier(a.Until, got.EndsAt), nil
}

// earlier returns the earlier of two times, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// actors is who acts in the new token, the outermost first.
func actors(a TokenAsk) []identity.Principal {
	var out []identity.Principal
	if !a.Actor.IsZero() {
		out = append(out, a.Actor)
	}
	if a.Token != nil {
		out = append(out, a.Token.Actor...)
	}
	return out
}

// passesOn refuses the exchange of a token by anybody but the app that it names, for
// anything but what it may be passed on to, and returns what that is.
func (w *work) passesOn(ctx context.Context, set *policy.Set, a TokenAsk, target policy.App) ([]string, error) {
	if a.Token == nil {
		return nil, nil
	}
	from, err := resourceApp(set, a.Token.Audience)
	if err != nil || from.Workload.IsZero() || from.Workload != a.Actor {
		return nil, fault(CodeNotEligible, "", "only the app that a token names exchanges it")
	}
	g, err := w.tx.Grants().Get(ctx, a.Token.Grant)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("grant of a token: %w", err)
	}
	if err != nil || g.Principal != a.Subject || g.Scope.App != from.Name || g.InForce(w.now) != nil {
		return nil, fault(CodeEnded, "", "the grant of this token has ended")
	}
	allowed := onwardOf(set, g)
	row, err := w.tx.Tokens().Get(ctx, a.Token.ID)
	switch {
	case err == nil:
		allowed = both(allowed, row.Onward)
	case !errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("token: %w", err)
	case len(a.Token.Actor) > 0: // it came by exchange, and what it may become is not known
		return nil, fault(CodeEnded, "", "this token is not exchanged any more")
	}
	been := target.Name == from.Name || !target.Workload.IsZero() && slices.Contains(a.Token.Actor, target.Workload)
	if been || !slices.Contains(allowed, target.Name) {
		return nil, fault(CodeInvalidTarget, "", "the entitlement of this token lets it be passed on to no such app")
	}
	if len(actors(a)) > tokens.MaxActors {
		return nil, fault(CodeInvalid, "", "more than %d would act for the subject", tokens.MaxActors)
	}
	return allowed, nil
}

func onwardOf(set *policy.Set, g grant.Grant) []string {
	e, ok := set.Entitlement(g.Entitlement)
	if !ok {
		return nil
	}
	return e.Onward
}

// both returns what stands in both sorted lists, never nil.
func both(a, b []string) []string {
	out := []string{}
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// grantFor chooses the grant of the token, and the details of it.
func (w *work) grantFor(ctx context.Context, a TokenAsk, app policy.App) (best grant.Grant, details []tokens.Detail, err error) {
	live := false
	err = eachLive(ctx, w.tx, GrantFilter{Principal: a.Subject, App: app.Name}, func(g grant.Grant) error {
		if g.Principal != a.Subject || g.InForce(w.now) != nil {
			return nil
		}
		live = true
		fits, ok := detailsOf(a.Detail, app, g)
		if ok && (best.ID.IsZero() || g.NotAfter.After(best.NotAfter) || g.NotAfter.Equal(best.NotAfter) && g.ID.String() < best.ID.String()) {
			best, details = g, fits
		}
		return nil
	})
	switch {
	case err != nil:
		return grant.Grant{}, nil, err
	case !live:
		return grant.Grant{}, nil, fault(CodeNoGrant, "mayfly entitlements", "no access to this resource is in force: ask for some first")
	case best.ID.IsZero():
		return grant.Grant{}, nil, fault(CodeInvalidDetails, "", "no access in force covers what the authorization details ask for")
	}
	return best, details, nil
}

// detailsOf returns what a token for g says if ask fits it.
func detailsOf(ask *DetailAsk, app policy.App, g grant.Grant) ([]tokens.Detail, bool) {
	whole := detailOf(app, g)
	if ask == nil {
		return []tokens.Detail{whole}, true
	}
	switch {
	case ask.Type != whole.Type, ask.App != "" && ask.App != app.Name, ask.Entitlement != "" && ask.Entitlement != g.Entitlement, !ask.Grant.IsZero() && ask.Grant != g.ID,
		ask.Locations != nil && !slices.Equal(ask.Locations, whole.Locations):
		return nil, false
	case ask.Rules == nil:
		return []tokens.Detail{whole}, true
	}
	part := whole
	part.Scope = scope.Scope{App: app.Name, Rules: ask.Rules}.Canonical()
	if err := tokens.Narrows([]tokens.Detail{part}, []tokens.Detail{whole}); err != nil {
		return nil, false
	}
	return []tokens.Detail{part}, true
}

// claims are those of the token but for its details. Tokens count whole seconds.
func (w *work) claims(ctx context.Context, a TokenAsk, app policy.App, g grant.Grant, until time.Time) (tokens.Claims, error) {
	head, err := w.tx.Head().Feed(ctx)
	if err != nil {
		return tokens.Claims{}, fmt.Errorf("head: %w", err)
	}
	c := tokens.Claims{
		Issuer: w.console, Subject: a.Subject, Audience: app.Resource(), ClientID: a.ClientID, ID: w.minter.NewTokenID(w.now),
		IssuedAt: w.now.Truncate(time.Second), Confirm: a.Confirm, Actor: actors(a), AuthTime: a.AuthTime.Truncate(time.Second), ACR: a.ACR, AMR: a.AMR,
		Txn: g.Request, Grant: g.ID, Gen: head.Epoch,
	}
	c.Expires = earlier(until, earlier(g.EndsAt(), c.IssuedAt.Add(tokens.MaxLife))).Truncate(time.Second)
	if !c.Expires.After(w.now) {
		return tokens.Claims{}, fault(CodeEnded, "", "the access, or what proves who asks, ends within this second")
	}
	return c, nil
}

func (w *work) recordToken(ctx context.Context, a TokenAsk, app policy.App, c tokens.Claims) error {
	name, err := w.pseudonym(ctx, c.Subject)
	if err != nil {
		return err
	}
	body := tokenIssued{
		Token: c.ID.String(), Grant: c.Grant.String(), Request: c.Txn.String(), Principal: name, Client: c.ClientID, App: app.Name,
		Audience: c.Audience, Proof: string(a.Proof), Bound: "key", Scope: c.Details[0].Scope.Operations(), Ends: audit.At(c.Expires),
	}
	if c.Confirm.X5T != [32]byte{} {
		body.Bound = "certificate"
	}
	if a.Token != nil {
		body.From = a.Token.ID.String()
	}
	if strings.HasPrefix(c.ClientID, "spiffe://") { // a workload stands in the record by its pseudonym
		client, err := identity.ParsePrincipal(c.ClientID)
		if err != nil {
			return err
		}
		if body.Client, err = w.pseudonym(ctx, client); err != nil {
			return err
		}
	}
	for _, p := range c.Actor {
		actor, err := w.pseudonym(ctx, p)
		if err != nil {
			return err
		}
		body.Act = append(body.Act, actor)
	}
	_, err = w.leaf(ctx, audit.TypeTokenIssued, c.Grant.String(), body, c.ID.String(), c.Grant.String(), c.Txn.String(), body.From)
	return err
}
