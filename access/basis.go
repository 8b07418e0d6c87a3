package access

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/policy"
)

// Basis is what a request was decided from, stored with it (P8): each decision
// with its inputs, in order, and by what the requester and whoever would hold the
// grant were known. It is in the erasable table; leaves hold its parts by SHA-256
// only.
type Basis struct {
	Accounts  []string        `json:"accounts"`         // of both persons, however known (P6)
	Emails    []string        `json:"emails,omitempty"` // verified, of these accounts: an account that has one later is theirs too
	Decisions []BasisDecision `json:"decisions"`
}

// The moments at which policy is asked.
const (
	AtRequest    = "request"
	AtActivation = "activation"
)

// BasisDecision is one decision of policy: made again from Inputs by the same
// engine it is the same.
type BasisDecision struct {
	When     string        `json:"when"`  // AtRequest or AtActivation
	Nonce    string        `json:"nonce"` // so that the hash in the record tells nothing
	Inputs   policy.Inputs `json:"inputs"`
	Outcome  string        `json:"outcome"`
	Code     string        `json:"code"`
	Sentence string        `json:"sentence"`
	Reasons  []BasisReason `json:"reasons"`
	Steps    []BasisStep   `json:"steps"`
	Grants   string        `json:"grants"` // SHA-256 of what would be granted
}

// BasisReason is one finding of a decision, and where policy says it.
type BasisReason struct {
	Code string `json:"code"`
	File string `json:"file"`
	Line string `json:"line"`
	Text string `json:"text"`
}

// BasisStep is an approval that the decision asked for.
type BasisStep struct {
	Any    []string `json:"any"`
	Count  string   `json:"count"`
	Within string   `json:"within_s"`
	Signed bool     `json:"signed,omitempty"`
}

// basisOf writes a decision down.
func basisOf(when string, set *policy.Set, d policy.Decision) (BasisDecision, error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails since Go 1.24
	b := BasisDecision{
		When: when, Nonce: hex.EncodeToString(nonce[:]), Inputs: d.Inputs, Outcome: d.Outcome.String(),
		Code: d.Code, Sentence: d.Sentence, Reasons: []BasisReason{}, Steps: []BasisStep{},
	}
	for _, r := range d.Reasons {
		b.Reasons = append(b.Reasons, BasisReason{Code: r.Code, File: r.File, Line: strconv.Itoa(r.Line), Text: r.Text})
	}
	for _, s := range d.Steps {
		b.Steps = append(b.Steps, BasisStep{Any: s.Any, Count: strconv.Itoa(s.Count), Within: seconds(s.Within), Signed: s.Signed})
	}
	what, err := offerOf(set, d).substance()
	if err != nil {
		return BasisDecision{}, err
	}
	b.Grants = audit.SHA256(what).String()
	return b, nil
}

// hash is what a leaf holds of the decision.
func (d BasisDecision) hash() (string, error) {
	b, err := audit.CanonicalJSON(d)
	if err != nil {
		return "", fmt.Errorf("decision: %w", err)
	}
	return audit.SHA256(b).String(), nil
}

// same reports whether two decisions say the same, whatever their nonces.
func (d BasisDecision) same(e BasisDecision) (bool, error) {
	d.Nonce, e.Nonce, d.When, e.When = "", "", "", ""
	x, err := d.hash()
	if err != nil {
		return false, err
	}
	y, err := e.hash()
	return x == y, err
}

func (b Basis) encode() ([]byte, error) { return audit.CanonicalJSON(b) }

func readBasis(raw []byte) (Basis, error) {
	var b Basis
	if err := json.Unmarshal(raw, &b); err != nil {
		return Basis{}, fmt.Errorf("stored inputs: %w", err)
	}
	if len(b.Decisions) == 0 {
		return Basis{}, fmt.Errorf("stored inputs: no decision")
	}
	return b, nil
}

// stepsOf turns policy's steps into a request's.
func stepsOf(in []policy.Step) []Step {
	out := make([]Step, len(in))
	for i, s := range in {
		out[i] = Step{Any: slices.Clone(s.Any), Count: s.Count, Within: s.Within, Signed: s.Signed}
	}
	return out
}

func sameSteps(a, b []Step) bool {
	return slices.EqualFunc(a, b, func(x, y Step) bool {
		return x.Count == y.Count && x.Within == y.Within && x.Signed == y.Signed && slices.Equal(x.Any, y.Any)
	})
}
