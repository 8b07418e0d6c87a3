package policy

import (
	"regexp"
	"time"

	"github.com/mayflyproxy/mayfly/scope"
)

// Entitlement is a named, owned, capped set of operations that can be asked for.
// Nobody changes it after Load.
type Entitlement struct {
	Name        string
	Owner       string
	App         string
	Allow       []Allow
	Params      []Param       // in the order of the file
	Sensitivity scope.Class   // ClassNone: the operations' own
	Class       scope.Class   // the strictest of Sensitivity and every operation's
	Max         time.Duration // of one grant
	Default     time.Duration // when nobody names a duration
	IdleAfter   time.Duration // a grant that is not used for so long ends; 0: it does not
	Who         []Subject     // who may ask
	Justify     bool          // a reason in words must be given
	Auto        string        // the CEL condition of an automatic approval, "" for none
	Steps       []Step        // approvals otherwise, in order; empty: none can help
	Onward      []string      // apps that the app may pass this access on to, by token exchange; sorted
	StepUp      *StepUp       // how a person must have logged in; nil: in any way
	Signed      bool          // approvals count only with their approver's signature
	Tests       []Test
	File        string
	Line        int

	Environments []string // where its grants count; none: the app's

	lines    lines
	auto     *condition
	capped   string   // what is doubtful about auto; "" nothing
	expanded []rule   // of Allow, sorted by operation
	bound    []string // parameters that some constraint uses
}

// StepUp asks more of a person's login than that there was one (RFC 9470).
type StepUp struct {
	ACR    []string      // one of these contexts; none: any
	MaxAge time.Duration // since the person showed up at the provider; 0: any
}

// lines are where the parts that a decision names stand in the file.
type lines struct{ who, max, auto, steps, request, params, sensitivity, approve, approveColumn int }

// Allow is one line of allow: operations under constraints.
type Allow struct {
	Operations []string // patterns, as written
	Where      []Bound
	Line       int
}

// Bound is a constraint whose values are literals or a parameter.
type Bound struct {
	Attribute  string
	Comparison scope.Comparison
	Values     []Operand
	Line       int

	column int
}

// Operand is a literal, as written, or the name of a parameter.
type Operand struct {
	Param   string // without $; "" for a literal
	Literal string
}

// Param is a value that whoever asks gives.
type Param struct {
	Name     string
	Type     scope.Type
	Required bool
	Any      bool        // may be left out; then its constraints are not there, and it is shown as any
	Pattern  string      // RE2 over the whole text, "" for none
	Max, Min scope.Value // zero: no bound
	Values   []scope.Value
	Line     int

	pattern *regexp.Regexp
}

// Step is one round of approvals: Count distinct persons of Any, within Within.
type Step struct {
	Any    []string      `json:"any"` // group:<source>/<name>, a person's name, or an account
	Count  int           `json:"count"`
	Within time.Duration `json:"within"`
	Signed bool          `json:"signed,omitempty"` // each with the approver's signature
}

// Test is one inline test of an entitlement.
type Test struct {
	As       string // spiffe://…, user:…, a person of people:, or an address such as alice@acme.example
	Groups   []string
	Params   map[string]string
	Duration time.Duration // 0: not given
	Reason   *string       // nil: a stand-in is given
	Expect   Outcome
	Because  string // reason code, "" for any
	Line     int
}
