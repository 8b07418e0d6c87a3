package api

// Explanation says why something is as it is: a request, a grant, or what a gateway
// allowed or denied. Decisions stand in it as they were stored, each made again.
type Explanation struct {
	ID          string     `json:"id"`
	State       string     `json:"state"` // of the request; of a try: allowed, denied, observed (passed undecided, with what it would have been in code and sentence); of a grant without a request its own
	Code        string     `json:"code,omitempty"`
	Sentence    string     `json:"sentence,omitempty"`
	Request     string     `json:"request,omitempty"`
	Grant       string     `json:"grant,omitempty"` // if it is the caller's to see
	GrantState  string     `json:"grant_state,omitempty"`
	Entitlement string     `json:"entitlement,omitempty"`
	Owner       string     `json:"owner,omitempty"` // of the entitlement
	App         string     `json:"app,omitempty"`
	AppOwner    string     `json:"app_owner,omitempty"`
	Decisions   []Decision `json:"decisions"`
	Remedies    []Remedy   `json:"remedies,omitempty"` // each would have been answered better, by the policy that decided
	Tried       *Tried     `json:"tried,omitempty"`
	Help        []string   `json:"help,omitempty"` // who can do something about it
	Next        []string   `json:"next,omitempty"`
}

// Decision is one decision of policy.
type Decision struct {
	When      string         `json:"when"` // request, activation
	Outcome   string         `json:"outcome"`
	Code      string         `json:"code,omitempty"`
	Sentence  string         `json:"sentence,omitempty"`
	Policy    Policy         `json:"policy"`
	Rules     []Rule         `json:"rules"`
	Inputs    string         `json:"inputs"`              // canonical JSON of what policy was asked
	Facts     []Fact         `json:"facts,omitempty"`     // the same for people, with their age
	Checks    []Check        `json:"checks,omitempty"`    // every one, in order; none if it cannot be made again here
	Condition *Condition     `json:"condition,omitempty"` // of the automatic approval, if it was asked
	Members   []Member       `json:"members,omitempty"`   // of a bundle: how each of its entitlements was decided
	Steps     []DecisionStep `json:"steps,omitempty"`
	Replay    string         `json:"replay"` // same, engine differs, mismatch, policy missing
	Cause     string         `json:"cause,omitempty"`
	Where     string         `json:"where,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Leaf      string         `json:"leaf,omitempty"` // of the control log, that holds the hash of the decision
}

// Member is what was decided about one entitlement of a bundle.
type Member struct {
	Entitlement string     `json:"entitlement"`
	Owner       string     `json:"owner"`
	App         string     `json:"app"`
	Outcome     string     `json:"outcome"`
	Code        string     `json:"code,omitempty"`
	Checks      []Check    `json:"checks"`
	Condition   *Condition `json:"condition,omitempty"`
}

// Fact is one thing that a decision was made from.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Age   string `json:"age,omitempty"` // when it was decided
}

// Check is one check of a decision.
type Check struct {
	Name    string   `json:"name"`    // who, trust_domain, exceptions, beneficiary, params, duration, justification, auto, steps
	Verdict string   `json:"verdict"` // passed, failed, waits, not asked
	Code    string   `json:"code,omitempty"`
	Texts   []string `json:"texts"`
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	Owner   string   `json:"owner,omitempty"`
}

// Condition is that of an automatic approval, with the values that it had.
type Condition struct {
	Text      string   `json:"text"`
	Value     string   `json:"value"` // true, false, unknown, error
	Variables []Fact   `json:"variables"`
	Because   []string `json:"because"` // the parts that made it so
}

// DecisionStep is a step with what was said at it.
type DecisionStep struct {
	Words string     `json:"words"`
	Said  []Approval `json:"said,omitempty"`
}

// Remedy is a set of edits that together would have been answered better.
type Remedy struct {
	Outcome string `json:"outcome"` // granted, approval
	Edits   []Edit `json:"edits"`
}

// Edit is one thing that could have been otherwise.
type Edit struct {
	Kind string `json:"kind"` // justification, duration, param, login, acr, entitlement
	Name string `json:"name,omitempty"`
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	Text string `json:"text"`
}

// Tried is one try of an operation at a gateway, as the record tells it.
type Tried struct {
	Place      string      `json:"place"`
	Node       string      `json:"node"`
	Time       string      `json:"time"`
	Action     string      `json:"action"`
	Operation  string      `json:"operation,omitempty"`
	Resource   string      `json:"resource,omitempty"`
	Class      string      `json:"class,omitempty"`
	Attributes []Attribute `json:"attributes,omitempty"`
	Revision   string      `json:"revision"` // of the feed, as the gateway had it: epoch/revision
	Heard      string      `json:"heard"`    // how long ago the gateway had heard from mayflyd
	Near       []Near      `json:"near,omitempty"`
	Asks       []Covering  `json:"asks,omitempty"`
	Advice     string      `json:"advice,omitempty"`
}

// Attribute is one of an operation's. Hidden: only its HMAC is on record.
type Attribute struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"`
	Hidden bool   `json:"hidden,omitempty"`
}

// Near is a grant that its holder had about the time of a try.
type Near struct {
	Grant       string `json:"grant"`
	Entitlement string `json:"entitlement"`
	From        string `json:"from"`
	To          string `json:"to"`
	Code        string `json:"code,omitempty"`
	Sentence    string `json:"sentence"`
	Attribute   string `json:"attribute,omitempty"` // that failed
	Granted     string `json:"granted,omitempty"`
	Value       string `json:"value,omitempty"`
	Hidden      bool   `json:"hidden,omitempty"` // it may have failed: only its HMAC is on record
}

// Covering is an entitlement that covers what was tried.
type Covering struct {
	Ask     Ask      `json:"ask"`
	Missing []string `json:"missing,omitempty"` // required parameters that the record does not tell
	Owner   string   `json:"owner,omitempty"`
	Outcome string   `json:"outcome,omitempty"` // that policy gives today; empty if it was not asked
	Why     string   `json:"why,omitempty"`
}
