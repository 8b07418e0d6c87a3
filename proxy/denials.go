package proxy

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	maxDenials = 512 // that a process remembers
	maxNear    = 5   // grants of one
)

// Remembered is a recorded denial with what the table held when it was made. It is for
// whoever runs the machine. Of attributes that the record does not keep it tells no value.
type Remembered struct {
	Denial      string       `json:"denial"`
	At          time.Time    `json:"at"`
	Principal   string       `json:"principal"`
	App         string       `json:"app"`
	Operation   string       `json:"operation"`
	Code        string       `json:"code"`
	Entitlement string       `json:"entitlement,omitempty"` // the smallest that covers the operation
	Epoch       int64        `json:"epoch"`
	Revision    int64        `json:"revision"`
	LeaseAge    string       `json:"lease_age"`
	Near        []NearGrant  `json:"near"` // what the principal held on the app, nearest first
	Asks        []CoveringBy `json:"asks"` // entitlements that cover the operation, fewest operations first
}

// NearGrant is a grant that did not cover a denied try.
type NearGrant struct {
	Grant       string    `json:"grant"`
	Entitlement string    `json:"entitlement"`
	Ends        time.Time `json:"ends"`
	Code        string    `json:"code"`
	Attribute   string    `json:"attribute,omitempty"` // that failed
	Granted     string    `json:"granted,omitempty"`   // "" where the record does not keep values of the attribute
	Value       string    `json:"value,omitempty"`     // likewise
	Hidden      bool      `json:"hidden,omitempty"`

	rank int
}

// CoveringBy is an entitlement, with the parameters that have to be given.
type CoveringBy struct {
	Entitlement string   `json:"entitlement"`
	Required    []string `json:"required"`
}

// Denials are the last denials that were recorded, for explaining them while mayflyd is
// away. The zero value is ready; nil remembers nothing. Safe for concurrent use.
type Denials struct {
	mu   sync.Mutex
	ring []Remembered
	next int
}

func (d *Denials) add(r Remembered) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ring) < maxDenials {
		d.ring = append(d.ring, r)
		return
	}
	d.ring[d.next] = r
	d.next = (d.next + 1) % maxDenials
}

// Get returns a denial that is remembered.
func (d *Denials) Get(id string) (Remembered, bool) {
	if d == nil {
		return Remembered{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.ring, func(r Remembered) bool { return r.Denial == id })
	if i < 0 {
		return Remembered{}, false
	}
	return d.ring[i], true
}

// remember keeps what the table holds about a denial that was recorded.
func (c *Checker) remember(v *ruling, d *grant.Denial, now time.Time) {
	if c.c.Denials == nil || v.app == nil {
		return
	}
	status := c.c.Table.Status()
	out := Remembered{
		Denial: d.ID.String(), At: now, Principal: v.caller.principal.String(), App: v.app.Name, Operation: v.op.Name, Code: string(d.Reason),
		Entitlement: d.Entitlement, Epoch: status.At.Epoch, Revision: status.At.Revision, LeaseAge: v.age.Round(time.Millisecond).String(),
		Near: []NearGrant{}, Asks: []CoveringBy{},
	}
	if v.op.Name != "" {
		out.Near = c.c.Table.near(v.caller.principal, v.op, v.spec, now)
		out.Asks = coveringBy(v.app, v.op.Name, v.caller.principal.Kind())
	}
	c.c.Denials.add(out)
}

func coveringBy(a *App, operation string, kind identity.Kind) []CoveringBy {
	out := []CoveringBy{}
	for _, ask := range a.Asks { // in the order of the feed: fewest operations first
		if len(out) < maxNear && slices.Contains(ask.Operations, operation) && slices.Contains(ask.Kinds, kind.String()) {
			out = append(out, CoveringBy{ask.Entitlement, append([]string{}, ask.Required...)})
		}
	}
	return out
}

// near lists what p holds or held on op's app, with why it does not cover op.
func (t *Table) near(p identity.Principal, op scope.Operation, spec scope.Spec, now time.Time) []NearGrant {
	s := t.state.Load()
	out := []NearGrant{}
	for h := range s.of(holder{op.App, p}, grant.GrantID{}) {
		if len(out) >= maxPast {
			break
		}
		g := h.open()
		one := NearGrant{Grant: g.ID.String(), Entitlement: g.Entitlement, Ends: g.EndsAt(), rank: missPast}
		if err := s.permits(h, g, p, op, now); err != nil {
			one.Code = string(grant.ReasonOf(err))
		}
		if c, ok := unmet(g.Scope, op); ok {
			one.Attribute, one.rank = c.Attribute, missConstraint
			if attr, known := spec.Attribute(c.Attribute); known && attr.Recordable {
				one.Granted, one.Value = c.String(), op.Attributes[c.Attribute].String()
			} else {
				one.Hidden = true
			}
		} else if g.Scope.Covers(op) != nil {
			one.rank = missOperation
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b NearGrant) int {
		if a.rank != b.rank {
			return b.rank - a.rank
		}
		return b.Ends.Compare(a.Ends)
	})
	return out[:min(len(out), maxNear)]
}

// unmet is the constraint by which a scope that has the operation misses it.
func unmet(s scope.Scope, op scope.Operation) (scope.Constraint, bool) {
	if s.Covers(op) == nil {
		return scope.Constraint{}, false
	}
	for _, r := range s.Rules {
		for _, c := range r.Where {
			if r.Operation == op.Name && !c.Satisfied(op.Attributes[c.Attribute]) {
				return c, true
			}
		}
	}
	return scope.Constraint{}, false
}

// String says why it did not cover the try.
func (n NearGrant) String() string {
	switch {
	case n.Hidden:
		return fmt.Sprintf("%s: %s is another one (its values are on no record)", n.Code, n.Attribute)
	case n.Attribute != "" && n.Value == "":
		return fmt.Sprintf("%s: granted is %s, and the request did not say", n.Code, n.Granted)
	case n.Attribute != "":
		return fmt.Sprintf("%s: granted is %s, and it was %s", n.Code, n.Granted, n.Value)
	case n.Code == "":
		return "it covered the request"
	default:
		return n.Code
	}
}
