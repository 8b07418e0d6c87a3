package proxy

import (
	"crypto/x509"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// What a table holds, made into resources again from what decisions read: whatever
// became of it since it was told shows in their digests (contracts §2).

// remaker makes resources of grants, each in the memory of the one before.
type remaker struct {
	resource feed.Resource
	of       feed.Resource_Grant
	message  feed.Grant
	rules    []feed.Rule
	where    []feed.Constraint
	values   []feed.Value

	ruleList  []*feed.Rule
	whereList []*feed.Constraint
	valueList []*feed.Value
}

// grant returns what g is made into, until the next call.
func (m *remaker) grant(g grant.Grant) *feed.Resource {
	m.room(g.Scope.Rules)
	rules, where, values := 0, 0, 0
	for _, r := range g.Scope.Rules {
		first := where
		for _, c := range r.Where {
			first := values
			for _, v := range c.Values {
				m.values[values].Type, m.values[values].Value = v.Type().String(), v.String()
				values++
			}
			to := &m.where[where]
			to.Attribute, to.Op, to.Values = c.Attribute, string(c.Comparison), m.valueList[first:values]
			where++
		}
		m.rules[rules].Operation, m.rules[rules].Where = r.Operation, m.whereList[first:where]
		rules++
	}
	to := &m.message
	to.Request, to.Principal, to.Pseudonym, to.App = g.Request.String(), g.Principal.String(), g.Pseudonym, g.Scope.App
	to.Entitlement, to.NotBeforeUs, to.NotAfterUs, to.Class = g.Entitlement, microsOf(g.NotBefore), microsOf(g.NotAfter), g.Class.String()
	to.Rules = m.ruleList[:rules]
	if !g.Revoked.IsZero() || !g.Finished.IsZero() || g.EndedEarly != "" {
		to.Class += "!" // one that is in force carries no mark
	}
	m.of.Grant = to
	m.resource.Id, m.resource.Resource = g.ID.String(), &m.of
	return &m.resource
}

// room makes room for rules.
func (m *remaker) room(rules []scope.Rule) {
	where, values := 0, 0
	for _, r := range rules {
		where += len(r.Where)
		for _, c := range r.Where {
			values += len(c.Values)
		}
	}
	m.rules, m.ruleList = room(m.rules, m.ruleList, len(rules))
	m.where, m.whereList = room(m.where, m.whereList, where)
	m.values, m.valueList = room(m.values, m.valueList, values)
}

// room returns n items or more, and pointers to them.
func room[T any](items []T, list []*T, n int) ([]T, []*T) {
	if len(items) >= n {
		return items, list
	}
	items, list = make([]T, 2*n), make([]*T, 2*n)
	for i := range items {
		list[i] = &items[i]
	}
	return items, list
}

func remadeSession(s *Session) *feed.Resource {
	m := &feed.Session{
		Hash: s.Hash[:], Principal: s.Principal.String(), Person: s.Person.String(), Pseudonym: s.Pseudonym, App: s.App, Host: s.Host,
		Acr: s.ACR, AuthTimeUs: microsOf(s.AuthTime), EndsUs: microsOf(s.Ends),
	}
	for _, g := range s.Groups {
		m.Groups = append(m.Groups, g.String())
	}
	for fact, text := range map[string]string{factName: s.Name, factEmail: s.Email} {
		if text != "" {
			if m.Facts == nil {
				m.Facts = map[string]string{}
			}
			m.Facts[fact] = text
		}
	}
	return &feed.Resource{Id: s.ID.String(), Resource: &feed.Resource_Session{Session: m}}
}

// remadeKey is of a key without a public part if it cannot be written: that is no
// digest of a key that was told.
func remadeKey(k signer) *feed.Resource {
	der, err := x509.MarshalPKIXPublicKey(k.Key)
	if err != nil {
		der = nil
	}
	return &feed.Resource{Id: k.ID, Resource: &feed.Resource_Key{Key: &feed.Key{PublicKey: der, Alg: string(k.Alg), Issuer: k.issuer}}}
}

func remadeApp(a *App) *feed.Resource {
	m := &feed.App{
		Name: a.Name, Kind: a.Kind, Hosts: a.Hosts, StaleAfterUs: a.StaleAfter.Microseconds(), MaxStreamUs: a.MaxStream.Microseconds(),
		Catalogue: a.Catalogue, Callers: a.Callers, Console: a.Console, Assert: a.Assert, Guard: a.Guard, Places: a.remadePlaces(),
	}
	if a.Observe != nil {
		m.Observe = &feed.Observe{UntilUs: microsOf(a.Observe.Until)}
	}
	if a.Upstream != nil {
		m.Upstream = a.Upstream.String()
	}
	for _, c := range a.Credentials {
		m.Credentials = append(m.Credentials, &feed.Credential{Operations: c.Operations, Secret: c.Secret})
	}
	for _, k := range a.Asks {
		ask := &feed.Ask{Entitlement: k.Entitlement, Operations: k.Operations, Required: k.Required, Kinds: k.Kinds}
		for _, b := range k.Bindings {
			ask.Bindings = append(ask.Bindings, &feed.Binding{Operation: b.Operation, Attribute: b.Attribute, Op: b.Op, Param: b.Param})
		}
		m.Asks = append(m.Asks, ask)
	}
	for _, h := range a.Identity {
		m.Identity = append(m.Identity, &feed.IdentityHeader{Header: h.Header, Fact: h.Fact})
	}
	for name, s := range a.StepUp {
		m.StepUp = append(m.StepUp, &feed.StepUp{Entitlement: name, Acr: s.ACR, MaxAgeUs: s.MaxAge.Microseconds()})
	}
	slices.SortFunc(m.StepUp, func(x, y *feed.StepUp) int { return strings.Compare(x.GetEntitlement(), y.GetEntitlement()) })
	return &feed.Resource{Id: a.Name, Resource: &feed.Resource_App{App: m}}
}

// remadePlaces is the list as it was told, but for the one of this gateway, which is
// made from what counts here.
func (a *App) remadePlaces() []*feed.Place {
	out := slices.Clone(a.places)
	for i, p := range out {
		if a.Here != nil && p.GetSidecar() == a.sidecar {
			out[i] = placeMessage(a.Here, a.sidecar)
			return out
		}
	}
	none := a.Here == nil && len(out) == 0 || a.Here != nil && len(out) > 0 && reflect.DeepEqual(*a.Here, Place{})
	if !none { // nobody told this gateway so
		out = append(out, &feed.Place{})
	}
	return out
}

func placeMessage(p *Place, sidecar string) *feed.Place {
	return &feed.Place{
		Sidecar: sidecar, Environment: p.Environment, AnyTrustDomain: p.AnyTrustDomain, TrustDomains: p.TrustDomains, Elsewhere: p.Elsewhere,
	}
}

func microsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
