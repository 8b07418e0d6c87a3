package proxytest

import (
	"crypto/sha256"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// Stripe is the app stripe on stripe.acme.example, with that upstream.
func Stripe(upstream string) *feed.Resource {
	return &feed.Resource{Id: "stripe", MinReader: 1, Resource: &feed.Resource_App{App: &feed.App{
		Name: "stripe", Kind: "stripe", Hosts: []string{"stripe.acme.example"}, Upstream: upstream,
		StaleAfterUs: (15 * time.Second).Microseconds(),
		Credentials:  []*feed.Credential{{Operations: []string{"refunds.create", "charges.retrieve"}, Secret: "stripe-key"}},
		Asks: []*feed.Ask{{
			Entitlement: "stripe/refunds", Operations: []string{"charges.retrieve", "payouts.create", "refunds.create"}, Kinds: []string{"workload"},
			Required: []string{"amount_max", "charge"},
			Bindings: []*feed.Binding{
				{Operation: "refunds.create", Attribute: "charge", Op: "is", Param: "charge"},
				{Operation: "refunds.create", Attribute: "amount", Op: "max", Param: "amount_max"},
			},
		}},
	}}}
}

// Wiki is the app wiki of kind web on wiki.acme.example.
func Wiki() *feed.Resource {
	return &feed.Resource{Id: "wiki", MinReader: 1, Resource: &feed.Resource_App{App: &feed.App{
		Name: "wiki", Kind: "web", Hosts: []string{"wiki.acme.example"}, Upstream: "http://127.0.0.1:1",
		StaleAfterUs: (15 * time.Second).Microseconds(), MaxStreamUs: (10 * time.Second).Microseconds(),
		Asks: []*feed.Ask{{Entitlement: "wiki/read", Operations: []string{"http.get"}, Kinds: []string{"workload"}}},
	}}}
}

// Console is where people log in and ask.
const Console = "https://mayfly.acme.example"

// Panel is the app panel of kind web on panel.acme.example and board.acme.example:
// it takes people and services, and is told who calls.
func Panel() *feed.Resource {
	return &feed.Resource{Id: "panel", MinReader: 2, Resource: &feed.Resource_App{App: &feed.App{
		Name: "panel", Kind: "web", Hosts: []string{"panel.acme.example", "board.acme.example"}, Upstream: "http://127.0.0.1:1",
		StaleAfterUs: (15 * time.Second).Microseconds(), MaxStreamUs: (10 * time.Second).Microseconds(),
		Asks:    []*feed.Ask{{Entitlement: "panel/use", Operations: []string{"http.get", "http.post"}, Kinds: []string{"user", "workload"}}},
		Callers: []string{"people", "services"}, Console: Console,
		Identity: []*feed.IdentityHeader{
			{Header: "x-auth-account", Fact: "principal"}, {Header: "x-auth-email", Fact: "email"}, {Header: "x-auth-groups", Fact: "groups"},
			{Header: "x-auth-name", Fact: "name"}, {Header: "x-auth-person", Fact: "person"},
		},
	}}}
}

// Visits returns a grant to Alice of the class read, for reading and writing the
// panel.
func (w *World) Visits(term time.Duration) (grant.GrantID, *feed.Resource) {
	id, r := w.grantOf("panel", "panel/use", "read", term, &feed.Rule{Operation: "http.get"}, &feed.Rule{Operation: "http.post"})
	r.GetGrant().Principal, r.GetGrant().Pseudonym = Alice, "p_alice"
	return id, r
}

// Login returns a session of Alice's on panel.acme.example, of the secret with that
// text.
func (w *World) Login(secret string, term time.Duration) *feed.Resource {
	at := w.Now()
	if at.IsZero() {
		at = Noon()
	}
	hash := sha256.Sum256([]byte(secret))
	return &feed.Resource{Id: w.minter.NewSessionID(at).String(), MinReader: 2, Resource: &feed.Resource_Session{Session: &feed.Session{
		Hash: hash[:], Principal: Alice, Person: "alice", Pseudonym: "p_alice", App: "panel", Host: "panel.acme.example",
		Groups: []string{"group:idp/support", "group:idp/on-call"}, AuthTimeUs: at.UnixMicro(), EndsUs: at.Add(term).UnixMicro(),
		Facts: map[string]string{"name": "Alice Ähre", "email": "alice@acme.example"},
	}}}
}

// Refunds returns a grant to Refunder of refunds of ch_1 up to 500 minor units,
// and of reading charges.
func (w *World) Refunds(term time.Duration) (grant.GrantID, *feed.Resource) {
	return w.grantOf("stripe", "stripe/refunds", "money", term,
		&feed.Rule{Operation: "refunds.create", Where: []*feed.Constraint{
			{Attribute: "charge", Op: "is", Values: []*feed.Value{{Type: "string", Value: "ch_1"}}},
			{Attribute: "amount", Op: "max", Values: []*feed.Value{{Type: "minor_units", Value: "500"}}},
		}},
		&feed.Rule{Operation: "charges.retrieve"})
}

// Reads returns a grant to Refunder of the class read, for reading and writing the
// wiki.
func (w *World) Reads(term time.Duration) (grant.GrantID, *feed.Resource) {
	return w.grantOf("wiki", "wiki/read", "read", term, &feed.Rule{Operation: "http.get"}, &feed.Rule{Operation: "http.post"})
}

func (w *World) grantOf(app, entitlement, class string, term time.Duration, rules ...*feed.Rule) (grant.GrantID, *feed.Resource) {
	at := w.Now()
	if at.IsZero() {
		at = Noon()
	}
	id := w.minter.NewGrantID(at)
	return id, &feed.Resource{Id: id.String(), MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
		Request: w.minter.NewRequestID(at).String(), Principal: Refunder, Pseudonym: "p_1", App: app, Entitlement: entitlement, Class: class,
		NotBeforeUs: at.UnixMicro(), NotAfterUs: at.Add(term).UnixMicro(), Rules: rules,
	}}}
}
