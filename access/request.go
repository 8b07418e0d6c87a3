package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
)

// RequestState is where a request stands. It is stored, and moves only from
// Pending.
type RequestState string

// The states of a request (design §2).
const (
	Pending   RequestState = "pending"
	Approved  RequestState = "approved"
	Denied    RequestState = "denied"
	Withdrawn RequestState = "withdrawn"
	Expired   RequestState = "expired"
)

// Request is one ask for an entitlement, with everything that its decision was
// made from.
type Request struct {
	ID              grant.RequestID
	Revision        int // 1, and one more for each narrowing
	Requester       identity.Principal
	RequesterPerson identity.Person
	Beneficiary     identity.Principal // who holds the grant; the requester in this version
	Entitlement     string
	App             string
	Params          map[string]string // canonical texts
	Duration        time.Duration
	Reason          string // personal text: lives in the erasable table
	State           RequestState
	Code            string // reason code of a denial, such as max_duration; empty otherwise
	Sentence        string // why it is where it is, for people
	PolicyCommit    string
	PolicyDigest    string
	Engine          string
	Catalogue       string    // digest that the scope was expanded against
	Inputs          []byte    // canonical JSON of what policy was asked
	Steps           []Step    // approvals that it waits for, in order; empty if none
	StepBegan       time.Time // when the step that is waited for began
	Offer           grant.OfferID
	OfferDigest     string        // hex SHA-256 of the Offer's bytes
	Grant           grant.GrantID // zero until approved
	CreatedAt       time.Time
	DecideBy        time.Time // when an undecided step expires; zero if decided at once
	DecidedAt       time.Time // zero while pending
}

// Step is one round of approvals: Count distinct persons of Any, within Within.
type Step struct {
	Any    []string      `json:"any"` // group:<source>/<name>, a person's name, or a workload
	Count  int           `json:"count"`
	Within time.Duration `json:"within"`
	Signed bool          `json:"signed,omitempty"` // each with the approver's signature
}

// Approval is one person's word on one revision of a request, given on the
// digest of the Offer that was shown. It is unique on (Request, Revision, Person).
type Approval struct {
	ID          grant.ApprovalID
	Request     grant.RequestID
	Revision    int
	Step        int // index into the request's steps
	Approver    identity.Principal
	Person      identity.Person
	OfferDigest string
	Approves    bool // false: denies
	Reason      string
	Signature   proof.Signature // of the Offer's digest; none where policy asks for none
	At          time.Time
}
