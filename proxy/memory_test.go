package proxy

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	refunder = "spiffe://acme.example/ns/pay/sa/refunder"
	other    = "spiffe://acme.example/ns/web/sa/front"
)

// noon is the control plane's time when the boot clock of a test stands at 1 h.
func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// machine is the boot clock of a test.
type machine struct{ at atomic.Int64 }

func newMachine() *machine {
	m := &machine{}
	m.at.Store(int64(time.Hour))
	return m
}

func (m *machine) now() time.Duration   { return time.Duration(m.at.Load()) }
func (m *machine) pass(d time.Duration) { m.at.Add(int64(d)) }

// plane is what a right control plane's clock shows.
func (m *machine) plane() time.Time { return noon().Add(m.now() - time.Hour) }

// memory is a table with its machine, its alarms, and a feed played by hand.
type memory struct {
	*Table
	t       *testing.T
	machine *machine
	mark    string
	at      feed.Position

	mu     sync.Mutex
	alarms []Alarm
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{t: t, machine: newMachine(), mark: filepath.Join(t.TempDir(), "mark"), at: feed.Position{Epoch: 1, Revision: 10}}
	m.Table = m.open(nil)
	return m
}

func (m *memory) open(admit func(*App) error) *Table {
	m.t.Helper()
	clock, err := OpenClock(ClockConfig{Boot: m.machine.now, Mark: m.mark})
	if err != nil {
		m.t.Fatal(err)
	}
	table, err := NewTable(TableConfig{Clock: clock, Admit: admit, Alarm: func(a Alarm) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.alarms = append(m.alarms, a)
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	return table
}

func (m *memory) alarmed() []Alarm {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.alarms)
}

// swap takes a snapshot in at the next revision.
func (m *memory) swap(resources ...*feed.Resource) (feed.Receipt, []*feed.Nack) {
	m.t.Helper()
	m.at.Revision += 2
	r, nacks, err := feedtest.Swap(m.t.Context(), m, m.at, resources)
	if err != nil {
		m.t.Fatal(err)
	}
	return r, nacks
}

func (m *memory) delta(d *feed.Delta) (feed.Receipt, []*feed.Nack) {
	m.t.Helper()
	m.at.Revision += 2
	d.Epoch, d.Revision = m.at.Epoch, m.at.Revision
	r, nacks, err := m.Apply(context.Background(), d)
	if err != nil {
		m.t.Fatal(err)
	}
	return r, nacks
}

func (m *memory) add(resources ...*feed.Resource) []*feed.Nack {
	m.t.Helper()
	_, nacks := m.delta(&feed.Delta{Resources: resources})
	return nacks
}

func (m *memory) revoke(id grant.GrantID, why grant.Reason) feed.Receipt {
	m.t.Helper()
	r, _ := m.delta(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id.String(), Reason: string(why), AtUs: m.machine.plane().UnixMicro()}}})
	return r
}

// pong answers a Ping sent now, by a control plane with that time.
func (m *memory) pong(told time.Time) {
	m.t.Helper()
	m.pongAfter(m.machine.now(), told)
}

func (m *memory) pongAfter(sent time.Duration, told time.Time) {
	m.t.Helper()
	if err := m.Ponged(sent, &feed.Pong{Epoch: m.at.Epoch, Head: m.at.Revision, CompleteTo: m.at.Revision, TimeUs: told.UnixMicro()}); err != nil {
		m.t.Fatal(err)
	}
}

// find asks for a refund of ch_1 by who, and returns the grant chosen and the
// reason of a refusal.
func (m *memory) find(who string, amount int64) (grant.Grant, grant.Reason) {
	m.t.Helper()
	g, err := m.Find(principal(m.t, who), refund("ch_1", amount), m.Now(), grant.GrantID{})
	return g, grant.ReasonOf(err)
}

func (m *memory) reason() grant.Reason {
	m.t.Helper()
	_, r := m.find(refunder, 100)
	return r
}

func principal(t testing.TB, s string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func refund(charge string, amount int64) scope.Operation {
	return scope.Operation{App: "stripe", Name: "refunds.create", Resource: charge, Class: scope.ClassMoney,
		Attributes: scope.Attributes{"charge": scope.Text(charge), "amount": scope.MinorUnits(amount)}}
}

// ids mints grant ids whose order is the order of the calls.
type ids struct{ minter *grant.Minter }

func newIDs() ids { return ids{grant.NewMinter()} }

func (i ids) next() grant.GrantID { return i.minter.NewGrantID(noon()) }

func stripeApp() *feed.Resource {
	return &feed.Resource{Id: "stripe", MinReader: 1, Resource: &feed.Resource_App{App: &feed.App{
		Name: "stripe", Kind: "stripe", Hosts: []string{"stripe.acme.example"}, Upstream: "https://api.stripe.com",
		StaleAfterUs: (15 * time.Second).Microseconds(),
		Credentials:  []*feed.Credential{{Operations: []string{"refunds.create"}, Secret: "stripe-refunds"}},
		Asks: []*feed.Ask{
			{Entitlement: "stripe/everything", Operations: []string{"charges.retrieve", "payouts.create", "refunds.create"}, Kinds: []string{"user", "workload"}},
			{Entitlement: "stripe/refunds", Operations: []string{"charges.retrieve", "refunds.create"}, Kinds: []string{"user", "workload"},
				Required: []string{"amount_max", "charge"},
				Bindings: []*feed.Binding{
					{Operation: "refunds.create", Attribute: "charge", Op: "is", Param: "charge"},
					{Operation: "refunds.create", Attribute: "amount", Op: "max", Param: "amount_max"},
					{Operation: "charges.retrieve", Attribute: "charge", Op: "is", Param: "charge"},
				}},
			{Entitlement: "stripe/refunds-by-people", Operations: []string{"refunds.create"}, Kinds: []string{"user"}},
		},
	}}}
}

// refunds returns a grant of refunds of ch_1 up to 500 minor units, from noon.
func refunds(id grant.GrantID, who string, term time.Duration) *feed.Resource {
	return &feed.Resource{Id: id.String(), MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
		Request: grant.NewMinter().NewRequestID(noon()).String(), Principal: who, Pseudonym: "p_1", App: "stripe", Entitlement: "stripe/refunds", Class: "money",
		NotBeforeUs: noon().UnixMicro(), NotAfterUs: noon().Add(term).UnixMicro(),
		Rules: []*feed.Rule{
			{Operation: "refunds.create", Where: []*feed.Constraint{
				{Attribute: "charge", Op: "is", Values: []*feed.Value{{Type: "string", Value: "ch_1"}}},
				{Attribute: "amount", Op: "max", Values: []*feed.Value{{Type: "minor_units", Value: "500"}}},
			}},
			{Operation: "charges.retrieve"},
		},
	}}}
}

// granted is a memory with the app, one grant of an hour, a Pong and a lease.
func granted(t *testing.T) (*memory, grant.GrantID) {
	t.Helper()
	m, id := newMemory(t), newIDs().next()
	m.swap(stripeApp(), refunds(id, refunder, time.Hour))
	m.pong(m.machine.plane())
	if r := m.reason(); r != "" {
		t.Fatalf("a live grant is refused: %s", r)
	}
	return m, id
}
