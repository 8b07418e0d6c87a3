package access

import (
	"maps"
	"slices"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// The oldest readers that understand what is made here: that of a session, or of
// an app that takes people, knows sessions; that of a grant with its proof, of a
// key, or of an app that takes clients or is told by tokens who calls, proofs and
// tokens; that of an app with guarded streams holds those; that
// of an app in observe mode lets pass what it would deny, and says so.
const (
	minReader        = 1
	minReaderSession = 2
	minReaderProof   = 3
	minReaderKey     = 3
	minReaderGuard   = 4
	minReaderObserve = 5
)

// grantResource turns a grant into what instances hold of it.
func grantResource(g grant.Grant, params map[string]string, catalogue string) *feed.Resource {
	rules := make([]*feed.Rule, len(g.Scope.Rules))
	for i, r := range g.Scope.Rules {
		rules[i] = &feed.Rule{Operation: r.Operation, Where: constraints(r.Where)}
	}
	return &feed.Resource{Id: g.ID.String(), MinReader: minReader, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
		Request: g.Request.String(), Principal: g.Principal.String(), Pseudonym: g.Pseudonym,
		App: g.Scope.App, Entitlement: g.Entitlement, Rules: rules,
		NotBeforeUs: g.NotBefore.UnixMicro(), NotAfterUs: g.NotAfter.UnixMicro(),
		Class: g.Class.String(), Catalogue: catalogue, Params: maps.Clone(params),
	}}}
}

func constraints(where []scope.Constraint) []*feed.Constraint {
	out := make([]*feed.Constraint, len(where))
	for i, c := range where {
		values := make([]*feed.Value, len(c.Values))
		for j, v := range c.Values {
			values[j] = &feed.Value{Type: v.Type().String(), Value: v.String()}
		}
		out[i] = &feed.Constraint{Attribute: c.Attribute, Op: string(c.Comparison), Values: values}
	}
	return out
}

// appResource turns a policy app into the only app that a sidecar knows.
func appResource(set *policy.Set, a policy.App, console string) *feed.Resource {
	app := &feed.App{
		Name: a.Name, Kind: a.Kind, Hosts: a.Hosts,
		StaleAfterUs: a.StaleAfter.Microseconds(), MaxStreamUs: a.MaxStream.Microseconds(), Catalogue: a.Catalogue,
	}
	if a.Upstream != nil {
		app.Upstream = a.Upstream.String()
	}
	for _, c := range a.Credentials {
		app.Credentials = append(app.Credentials, &feed.Credential{Operations: c.Operations, Secret: c.Secret})
	}
	for _, e := range set.Ask(a.Name) {
		ask := &feed.Ask{Entitlement: e.Entitlement, Operations: e.Operations, Required: e.Required, Kinds: e.Kinds}
		for _, b := range e.Bindings {
			ask.Bindings = append(ask.Bindings, &feed.Binding{Operation: b.Operation, Attribute: b.Attribute, Op: string(b.Comparison), Param: b.Param})
		}
		app.Asks = append(app.Asks, ask)
		if e.StepUp != nil {
			app.StepUp = append(app.StepUp, &feed.StepUp{Entitlement: e.Entitlement, Acr: e.StepUp.ACR, MaxAgeUs: e.StepUp.MaxAge.Microseconds()})
		}
	}
	reader := uint32(minReader)
	if a.TakesPeople() || slices.Contains(a.Callers, policy.CallersClients) {
		app.Callers, reader = a.Callers, minReaderSession
	}
	if app.Assert = a.Assert; a.Assert || len(app.StepUp) > 0 || slices.Contains(a.Callers, policy.CallersClients) {
		reader = minReaderKey
	}
	if app.Guard = a.Guard; a.Guard {
		reader = minReaderGuard
	}
	if o, ok := set.Observed(a.Name); ok {
		app.Observe, reader = &feed.Observe{}, minReaderObserve
		if !o.Until.IsZero() {
			app.Observe.UntilUs = o.Until.UnixMicro()
		}
	}
	if a.TakesPeople() {
		app.Console = console
		for _, h := range a.Identity {
			app.Identity = append(app.Identity, &feed.IdentityHeader{Header: h.Header, Fact: h.Fact})
		}
	}
	app.Places = places(set, a)
	return &feed.Resource{Id: a.Name, MinReader: reader, Resource: &feed.Resource_App{App: app}}
}

// places says what counts of an app at each node that fronts it; nothing where all
// of it counts everywhere.
func places(set *policy.Set, a policy.App) []*feed.Place {
	var out []*feed.Place
	some := len(set.TrustDomains()) > 0
	for _, n := range set.Nodes() {
		if !slices.Contains(n.Apps, a.Name) {
			continue
		}
		p := &feed.Place{
			Sidecar: n.Sidecar.String(), Environment: n.Environment, AnyTrustDomain: len(set.TrustDomains()) == 0,
			TrustDomains: set.TrustedIn(n.Environment), Elsewhere: set.Elsewhere(a.Name, n.Environment),
		}
		some = some || len(p.Elsewhere) > 0
		out = append(out, p)
	}
	if !some {
		return nil
	}
	return out
}

// sessionResource turns a session on a host of a into what instances hold of it.
// Name and address travel only to where the app is told them.
func sessionResource(set *policy.Set, a policy.App, s Session) *feed.Resource {
	out := &feed.Session{
		Hash: s.Hash[:], Principal: s.Principal.String(), Person: set.PersonOf(s.Principal).String(), Pseudonym: s.Pseudonym,
		App: s.App, Host: s.Host, Acr: s.ACR, EndsUs: s.EndsAt.UnixMicro(),
	}
	if !s.AuthTime.IsZero() {
		out.AuthTimeUs = s.AuthTime.UnixMicro()
	}
	for _, g := range s.Groups {
		out.Groups = append(out.Groups, g.String())
	}
	for _, h := range a.Identity {
		text := map[string]string{"name": s.Name, "email": s.Email}[h.Fact]
		if text == "" {
			continue
		}
		if out.Facts == nil {
			out.Facts = map[string]string{}
		}
		out.Facts[h.Fact] = text
	}
	return &feed.Resource{Id: s.ID.String(), MinReader: minReaderSession, Resource: &feed.Resource_Session{Session: out}}
}
