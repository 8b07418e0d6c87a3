package access

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

const offerVersion = 1

// Offer is exactly what is shown to whoever decides (contracts §6). Its
// canonical JSON is stored, and the SHA-256 of that is what approvers approve:
// every front renders only from it. Numbers are strings.
type Offer struct {
	V           int               `json:"v"`
	Request     string            `json:"request"`
	Revision    string            `json:"revision"`
	Requester   Party             `json:"requester"`
	Beneficiary Party             `json:"beneficiary"`
	Act         []Party           `json:"act"` // chain of actors between the two, empty in this version
	Entitlement string            `json:"entitlement"`
	App         string            `json:"app"`
	Params      map[string]string `json:"params"`
	Reason      string            `json:"reason"`
	Operations  []OfferOperation  `json:"operations"` // sorted by name
	Limits      OfferLimits       `json:"limits"`
	Duration    string            `json:"duration_s"`
	StartBy     audit.Time        `json:"start_by"` // undecided then, it never starts
	Policy      OfferPolicy       `json:"policy"`
	Catalogue   string            `json:"catalogue"`
	Findings    []string          `json:"findings"` // of risk, empty in this version
	// Members are what a bundle would grant of each of its entitlements: it is on no app
	// itself, and its own operations are none.
	Members []OfferMember `json:"members,omitempty"`
}

// OfferMember is one entitlement of a bundle: it becomes a grant of its own.
type OfferMember struct {
	Entitlement string            `json:"entitlement"`
	App         string            `json:"app"`
	Params      map[string]string `json:"params"`
	Operations  []OfferOperation  `json:"operations"`
	Limits      OfferLimits       `json:"limits"`
	Catalogue   string            `json:"catalogue"`
}

// Party is a principal as an Offer shows it.
type Party struct {
	Principal string `json:"principal"`
	Person    string `json:"person"`
	Shown     string `json:"shown"` // name and verified e-mail, or the principal
}

// OfferOperation is one operation that the grant would cover.
type OfferOperation struct {
	Name  string       `json:"name"`
	Where []OfferWhere `json:"where"` // all must hold; sorted by attribute
}

// OfferWhere is one constraint. Value is a string, and a list of strings for
// "in"; unit is the currency of money, minor_units for an amount without one.
type OfferWhere struct {
	Attribute string `json:"attribute"`
	Op        string `json:"op"`
	Value     any    `json:"value"`
	Unit      string `json:"unit"`
	Words     string `json:"words"`
}

// OfferLimits are what bounds the whole grant beside its operations.
type OfferLimits struct {
	Class string   `json:"class"`
	Any   []string `json:"any"` // attributes and parameters that are left open
	// IdleAfter is how long it may lie unused, in seconds; absent: to its end.
	IdleAfter string `json:"idle_after_s,omitempty"`
}

// OfferPolicy names the policy that the Offer was made under.
type OfferPolicy struct {
	Commit string `json:"commit"`
	Digest string `json:"digest"`
}

// Encode returns the canonical JSON and its SHA-256 in hex.
func (o Offer) Encode() ([]byte, string, error) {
	b, err := audit.CanonicalJSON(o)
	if err != nil {
		return nil, "", fmt.Errorf("offer: %w", err)
	}
	return b, audit.SHA256(b).String(), nil
}

// offerOf fills in what an Offer says about what would be granted.
func offerOf(set *policy.Set, d policy.Decision) Offer {
	x := d.Expansion
	out := Offer{
		V: offerVersion, Act: []Party{}, Findings: []string{},
		App: x.App, Params: orEmpty(x.Params), Operations: offerOperations(x.Scope), Limits: offerLimits(x),
		Duration:  seconds(d.Duration),
		Policy:    OfferPolicy{Commit: set.Commit(), Digest: set.Digest()},
		Catalogue: x.Catalogue,
	}
	for _, j := range d.Members {
		out.Members = append(out.Members, OfferMember{
			Entitlement: j.Entitlement, App: j.App, Params: orEmpty(j.Params),
			Operations: offerOperations(j.Scope), Limits: offerLimits(j.Expansion), Catalogue: j.Catalogue,
		})
	}
	return out
}

func offerLimits(x policy.Expansion) OfferLimits {
	out := OfferLimits{Class: x.Class.String(), Any: append([]string{}, x.ShownAny...)}
	if x.IdleAfter > 0 {
		out.IdleAfter = seconds(x.IdleAfter)
	}
	return out
}

func offerOperations(s scope.Scope) []OfferOperation {
	rules := s.Canonical().Rules
	out := make([]OfferOperation, len(rules))
	for i, r := range rules {
		out[i] = OfferOperation{Name: r.Operation, Where: make([]OfferWhere, len(r.Where))}
		for j, c := range r.Where {
			out[i].Where[j] = offerWhere(c)
		}
	}
	return out
}

func offerWhere(c scope.Constraint) OfferWhere {
	w := OfferWhere{Attribute: c.Attribute, Op: string(c.Comparison), Words: c.String()}
	texts := make([]string, len(c.Values))
	for i, v := range c.Values {
		texts[i] = v.String()
		w.Unit = unitOf(v)
	}
	if c.Comparison == scope.In {
		w.Value = texts
		return w
	}
	w.Value = strings.Join(texts, ", ") // one: Constraint.Check holds it
	return w
}

func unitOf(v scope.Value) string {
	if m, ok := v.Money(); ok {
		return m.Currency
	}
	if v.Type() == scope.TypeMinorUnits {
		return scope.TypeMinorUnits.String()
	}
	return ""
}

// substance returns the canonical JSON of what the Offer would grant:
// operations, limits, parameters and duration, without ids, times, policy and
// words about persons.
func (o Offer) substance() ([]byte, error) {
	return audit.CanonicalJSON(struct {
		App        string            `json:"app"`
		Params     map[string]string `json:"params"`
		Operations []OfferOperation  `json:"operations"`
		Limits     OfferLimits       `json:"limits"`
		Duration   string            `json:"duration_s"`
		Catalogue  string            `json:"catalogue"`
		Members    []OfferMember     `json:"members,omitempty"`
	}{o.App, o.Params, o.Operations, o.Limits, o.Duration, o.Catalogue, o.Members})
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
