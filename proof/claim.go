package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Claim is a grant with what is to prove it.
type Claim struct {
	Grant     grant.Grant
	Params    map[string]string
	Catalogue string // digest that the grant's scope was expanded against

	Offer     []byte // canonical JSON
	Approvals []Approval
	Leaf      []byte // the record grant.created
	Index     int64  // where it stands in the control log

	// Operations is the checker's own catalogue of the app's kind.
	Operations *scope.Catalogue
}

// Proven is what was found.
type Proven struct {
	Offer   [32]byte  // SHA-256: one counts for one grant
	StartBy time.Time // no grant begins later on this Offer
	Until   time.Time // when every grant that could be made on it has ended
}

// Check reports, as a nil error, that people who may approve it by this signed
// policy, none of them for themselves, signed an Offer of exactly this grant, that
// policy allows what it covers, and that the leaf is this grant's. What it cannot
// see is the caller's: that the leaf is in the log, that no other grant was made on
// the Offer, and that no newer policy was in force then.
func (p *Policy) Check(c Claim) (Proven, error) {
	digest := sha256.Sum256(c.Offer)
	o, err := readOffer(c.Offer)
	if err != nil {
		return Proven{}, err
	}
	e, ok := p.entitlements[o.Entitlement]
	switch {
	case !ok:
		return Proven{}, fmt.Errorf("the commit does not show the entitlement %.128q", o.Entitlement)
	case len(e.steps) == 0:
		return Proven{}, fmt.Errorf("%s is not approved by signatures: its file does not say approve: {signed: true}", e.name)
	case !p.Descends(o.Policy.Commit):
		return Proven{}, errors.New("the offer was made under a policy that this commit is not shown to come after")
	}
	for _, check := range []func() error{
		func() error { return o.agrees(c) },
		func() error { return e.checkTerm(o, c.Grant) },
		func() error { return e.checkScope(o, c) },
		func() error { return checkLeaf(c, digest) },
	} {
		if err := check(); err != nil {
			return Proven{}, err
		}
	}
	own, err := p.own(o)
	if err != nil {
		return Proven{}, err
	}
	if err := p.checkApprovals(e, c.Approvals, digest, own); err != nil {
		return Proven{}, err
	}
	return Proven{Offer: digest, StartBy: o.startBy, Until: o.startBy.Add(o.duration)}, nil
}

// agrees reports, as nil, that the Offer is of this grant.
func (o offer) agrees(c Claim) error {
	g := c.Grant
	switch {
	case o.Request != g.Request.String():
		return errors.New("the offer is of another request")
	case o.Beneficiary.Principal != g.Principal.String():
		return errors.New("the offer is for another principal")
	case o.App != g.Scope.App:
		return errors.New("the offer is for another app")
	case o.Entitlement != g.Entitlement:
		return errors.New("the offer is of another entitlement")
	case !maps.Equal(o.Params, c.Params):
		return errors.New("the offer has other parameters")
	case o.Limits.Class != g.Class.String():
		return errors.New("the offer is of another class")
	case o.Catalogue != c.Catalogue:
		return errors.New("the offer was made with another catalogue")
	}
	return o.shows(g.Scope)
}

// checkTerm holds the grant's times to what was shown, and to what the file allows.
func (e entitlement) checkTerm(o offer, g grant.Grant) error {
	term := g.NotAfter.Sub(g.NotBefore)
	switch {
	case term > o.duration:
		return fmt.Errorf("the grant lasts %s, the offer is for %s", term, o.duration)
	case term > e.max:
		return fmt.Errorf("the grant lasts %s, %s allows %s", term, e.name, e.max)
	case g.NotBefore.After(o.startBy):
		return errors.New("the grant begins after the offer's start_by")
	}
	return nil
}

// checkScope expands the entitlement again, from the signed file and the checker's
// own catalogue, and wants every rule of the grant among the outcome.
func (e entitlement) checkScope(o offer, c Claim) error {
	if e.app != c.Grant.Scope.App {
		return fmt.Errorf("%s is for the app %s", e.name, e.app)
	}
	allowed, class, err := e.expand(o.Params, c.Operations)
	if err != nil {
		return err
	}
	want, err := json.Marshal(allowed)
	if err != nil {
		return err
	}
	got, err := json.Marshal(c.Grant.Scope.Canonical())
	if err != nil {
		return err
	}
	switch {
	case !bytes.Equal(want, got):
		return fmt.Errorf("%s allows something else than the grant covers", e.name)
	case class != c.Grant.Class:
		return fmt.Errorf("%s is of class %s, the grant of %s", e.name, class, c.Grant.Class)
	}
	return nil
}

// expand fills the parameters in.
func (e entitlement) expand(given map[string]string, cat *scope.Catalogue) (scope.Scope, scope.Class, error) {
	out, class := scope.Scope{App: e.app}, max(e.sensitivity, scope.ClassRead)
	values := map[string]scope.Value{}
	for name, text := range given {
		p, ok := e.params[name]
		if !ok {
			return out, class, fmt.Errorf("%s has no parameter %.64q", e.name, name)
		}
		v, err := p.read(text)
		if err != nil {
			return out, class, fmt.Errorf("parameter %s: %w", name, err)
		}
		values[name] = v
	}
	for name, p := range e.params {
		if _, ok := values[name]; !ok && (p.required || !p.any) {
			return out, class, fmt.Errorf("parameter %s is missing", name)
		}
	}
	for _, line := range e.allow {
		names := map[string]bool{}
		for _, pattern := range line.patterns {
			list, err := cat.Expand(pattern)
			if err != nil {
				return out, class, err
			}
			for _, name := range list {
				names[name] = true
			}
		}
		for name := range names {
			spec, _ := cat.Lookup(name)
			rule := scope.Rule{Operation: name, Where: []scope.Constraint{}}
			for _, b := range line.where {
				k, open, err := b.fill(spec, values)
				if err != nil {
					return out, class, fmt.Errorf("%s: %w", name, err)
				}
				if !open {
					rule.Where = append(rule.Where, k)
				}
			}
			out.Rules = append(out.Rules, rule)
			class = class.Stricter(spec.Class)
		}
	}
	return out.Canonical(), class, nil
}

// fill makes a constraint; open says that its parameter was left out.
func (b bound) fill(spec scope.Spec, values map[string]scope.Value) (c scope.Constraint, open bool, err error) {
	attr, ok := spec.Attribute(b.attribute)
	if !ok {
		return c, false, fmt.Errorf("no attribute %q", b.attribute)
	}
	c = scope.Constraint{Attribute: b.attribute, Comparison: b.op}
	for _, text := range b.values {
		if text[0] == '$' {
			v, given := values[text[1:]]
			open = open || !given
			c.Values = append(c.Values, v)
			continue
		}
		v, err := scope.ParseValue(attr.Type, text)
		if err != nil {
			return c, false, err
		}
		c.Values = append(c.Values, v)
	}
	if open {
		return c, true, nil
	}
	return c, false, c.Check(attr.Type)
}

// checkLeaf reports, as nil, that the leaf is of this grant on this Offer.
func checkLeaf(c Claim, digest [32]byte) error {
	l, err := readLeaf(c.Leaf, c.Index)
	if err != nil {
		return err
	}
	g, b := c.Grant, l.Body
	if b.Grant != g.ID.String() || b.Request != g.Request.String() || b.NotBefore != stamp(g.NotBefore) || b.NotAfter != stamp(g.NotAfter) ||
		b.Entitlement != g.Entitlement || b.App != g.Scope.App || b.Class != g.Class.String() || b.Catalogue != c.Catalogue ||
		b.Offer != hex.EncodeToString(digest[:]) {
		return errors.New("the record says something else of this grant")
	}
	return nil
}

// own returns the persons who may not approve: whoever asked, whoever holds it, and
// every actor between (P6).
func (p *Policy) own(o offer) (map[string]bool, error) {
	out := map[string]bool{}
	for _, one := range append([]party{o.Requester, o.Beneficiary}, o.Act...) {
		account, err := identity.ParsePrincipal(one.Principal)
		if err != nil {
			return nil, fmt.Errorf("the offer names nobody: %w", err)
		}
		out[p.personOf(account)] = true
	}
	return out, nil
}
