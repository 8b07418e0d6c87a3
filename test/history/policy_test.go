package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
)

const (
	gateway    = "spiffe://acme.example/gw/sidecar"
	staleAfter = 5 * time.Second
)

// account is who asks, approves and revokes.
type account struct {
	principal, person string
	groups            string
}

// people are the accounts; the first two are one person's.
var people = []account{
	{"user:idp:alice", "alice", "support"},
	{"user:idp:alice-admin", "alice", "support leads"},
	{"user:idp:bob", "bob", "leads"},
	{"user:idp:carol", "carol", "support leads"},
	{"user:idp:dave", "dave", "security"},
	{"user:idp:erin", "erin", ""},
}

var refunder = account{"spiffe://acme.example/ns/pay/sa/refunder", "spiffe://acme.example/ns/pay/sa/refunder", ""}

// requesters are those who may ask.
var requesters = []account{refunder, people[0], people[1], people[3]}

const security = 4 // in people

// need is how many persons approve each entitlement.
var need = map[string]int{"stripe/one": 1, "stripe/two": 2}

var entitlements = []string{"stripe/one", "stripe/two"}

var files = map[string]string{
	"mayfly.yaml": `organisation: acme
caps: {grant: 12h, pending_per_principal: 50}
environments: [prod]
trust_domains:
  - {name: acme.example, environments: [prod]}
nodes:
  - sidecar: spiffe://acme.example/gw/sidecar
    listener: spiffe://acme.example/gw/listener
    role: gateway
    apps: [stripe]
    environment: prod
people:
  - {person: alice, accounts: ["user:idp:alice", "user:idp:alice-admin"]}
security: group:idp/security
`,
	"apps/stripe.yaml": `app: stripe
kind: stripe
owner: team-payments
hosts: [stripe.acme.example]
callers: [services]
upstream: {url: "https://api.stripe.com"}
stale_after: 5s
streams: deadline
`,
	"entitlements/stripe/one.yaml": entitlementText("one", 1),
	"entitlements/stripe/two.yaml": entitlementText("two", 2),
	"exceptions/one.yaml": `exception: one
owner: team-payments
allows: undercut
entitlement: stripe/one
until: 2999-01-01
reason: One approval for what two approve, so that histories hold both.
`,
}

func entitlementText(name string, count int) string {
	return `entitlement: stripe/` + name + `
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $amount_max}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  amount_max: {type: minor_units, required: true, min: 1, max: 50000}
sensitivity: money
grant: {max: 2h, default: 30m}
request:
  who: [group:idp/support, "spiffe://acme.example/ns/pay/sa/refunder"]
  for: [self]
  justification: none
approve:
  steps:
    - {any: [group:idp/leads], count: ` + string(rune('0'+count)) + `, within: 20m}
`
}

const most = 5000 // of an amount

func refund(charge string, amount int64) scope.Operation {
	return scope.Operation{App: "stripe", Name: "refunds.create", Resource: charge, Class: scope.ClassMoney,
		Attributes: scope.Attributes{"charge": scope.Text(charge), "amount": scope.MinorUnits(amount)}}
}

func options() policy.Options {
	stripe, err := scope.NewCatalogue([]scope.Spec{{Name: "refunds.create", Class: scope.ClassMoney, Attributes: []scope.AttributeSpec{
		{Name: "charge", Type: scope.TypeString, Recordable: true}, {Name: "amount", Type: scope.TypeMinorUnits, Recordable: true},
	}}})
	if err != nil {
		panic(err)
	}
	return policy.Options{Catalogue: func(kind string) (*scope.Catalogue, bool) { return stripe, kind == "stripe" }, GroupSources: []string{"idp"}}
}

func parse(text string) identity.Principal {
	p, err := identity.ParsePrincipal(text)
	if err != nil {
		panic(err)
	}
	return p
}

func (a account) caller(now time.Time) access.Caller {
	c := access.Caller{Principal: parse(a.principal), GroupsAt: now}
	for _, name := range strings.Fields(a.groups) {
		g, err := identity.ParseGroup("group:idp/" + name)
		if err != nil {
			panic(err)
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

// noon is when every history begins.
var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// template is the file of a database with the policy in force.
func template(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mayfly.db")
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Now: func() time.Time { return noon }, BootNow: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := access.New(access.Config{Unsettled: true, Store: db, Signer: newSigner(t).Signer, Minter: grant.NewMinter(), Policy: options()})
	if err != nil {
		t.Fatal(err)
	}
	set := map[string][]byte{}
	for name, text := range files {
		set[name] = []byte(text)
	}
	if _, err := s.ApplyPolicy(t.Context(), access.PolicyCommit{Files: set, Commit: strings.Repeat("0", 40)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recordKey signs the record, and opens what it signed.
type recordKey struct {
	*audit.Signer
	verifier *audit.Verifier
}

func newSigner(t *testing.T) recordKey {
	t.Helper()
	signer, verifier := audittest.NewKey(t)
	return recordKey{signer, verifier}
}
