package policy

import (
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// MaxGroupAge is how old groups may be when they decide (contracts §7).
const MaxGroupAge = 15 * time.Minute

// Outcome is what policy says to a request. The zero value is no.
type Outcome uint8

// The outcomes.
const (
	Denied        Outcome = iota
	Granted               // at once, by rule
	NeedsApproval         // all Steps, in order
)

// String returns the word that inline tests use.
func (o Outcome) String() string {
	switch o {
	case Granted:
		return "granted"
	case NeedsApproval:
		return "approval"
	default:
		return "denied"
	}
}

// Requester is who asks, as proven when asking.
type Requester struct {
	Principal identity.Principal
	Person    identity.Person
	Groups    []identity.Group
	GroupsAt  time.Time // when the source said so; zero: never
	ACR       string    // how the login was proven; "" is not known
}

// Input is everything that a decision depends on besides the Set.
type Input struct {
	Entitlement   string
	Params        map[string]string
	Duration      time.Duration // 0: the entitlement's default
	Justification string
	Beneficiary   identity.Principal // who would hold the grant
	Requester     Requester
	Now           time.Time // the transaction's clock
}

// Codes of a denial, stable, and what `because:` of an inline test may say.
const (
	DenyUnknownEntitlement = "unknown_entitlement"
	DenyNotEligible        = "not_eligible"
	DenyLoginAgain         = "login_again"
	DenyBeneficiary        = "beneficiary"
	DenyParam              = "param"
	DenyDuration           = "duration"
	DenyMaxDuration        = "max_duration"
	DenyJustification      = "justification"
	DenyNobodyApproves     = "nobody_approves"
)

// Reason is one finding of a decision, with the line that it is from.
type Reason struct {
	Code string `json:"code"` // a Deny… code, or who, auto, steps for what let it through
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"` // a sentence for people
}

// Decision is policy's answer, whole: the same Set and Input always make the same.
type Decision struct {
	Outcome   Outcome
	Code      string   // of the first reason to deny; "" unless denied
	Sentence  string   // why, for whoever asked
	Reasons   []Reason // every finding, in the order of the checks
	Steps     []Step   // of NeedsApproval
	Duration  time.Duration
	Expansion Expansion // what would be granted; zero if denied
	Inputs    Inputs    // what the decision was made from, fit to store and replay
}

// Decide says whether, and after which approvals, a request may become a grant.
// Every check runs, so that Reasons are whole; any that fails denies.
func (s *Set) Decide(in Input) Decision {
	return Decision{}
}
