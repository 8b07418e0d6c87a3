package api

// Times are UTC with six fractional digits and Z. Durations are Go texts such
// as 30m0s. Ids are the texts of contracts §1.

// Ask is the body of POST /api/v1/requests.
type Ask struct {
	Entitlement string            `json:"entitlement,omitempty"` // empty: as Denial says
	Params      map[string]string `json:"params,omitempty"`
	Duration    string            `json:"duration,omitempty"` // empty: the entitlement's default
	Reason      string            `json:"reason,omitempty"`
	Denial      string            `json:"denial,omitempty"` // den_ id that it answers; fills what is empty above
}

// Request is one ask and where it stands.
type Request struct {
	ID          string            `json:"id"`
	Revision    int               `json:"revision"`
	State       string            `json:"state"` // pending, approved, denied, withdrawn, expired
	Requester   Who               `json:"requester"`
	Entitlement string            `json:"entitlement"`
	App         string            `json:"app"`
	Params      map[string]string `json:"params"`
	Duration    string            `json:"duration"`
	Reason      string            `json:"reason,omitempty"`
	Code        string            `json:"code,omitempty"` // why denied
	Sentence    string            `json:"sentence,omitempty"`
	Policy      Policy            `json:"policy"`
	Steps       []Step            `json:"steps,omitempty"`
	Approvals   []Approval        `json:"approvals,omitempty"`
	Offer       *Offer            `json:"offer,omitempty"`
	Grant       string            `json:"grant,omitempty"`
	Grants      []JointGrant      `json:"grants,omitempty"` // of a bundle: all that came of it; Grant is the first
	CreatedAt   string            `json:"created_at"`
	DecideBy    string            `json:"decide_by,omitempty"`
	DecidedAt   string            `json:"decided_at,omitempty"`
	Notices     []string          `json:"notices,omitempty"` // what people are to know of policy, in sentences
}

// JointGrant is one grant of a bundle: they begin and end as one.
type JointGrant struct {
	ID          string   `json:"id"`
	Entitlement string   `json:"entitlement"`
	App         string   `json:"app"`
	State       string   `json:"state"` // scheduled, active, ended, revoked
	EndedBy     string   `json:"ended_by,omitempty"`
	InForce     bool     `json:"in_force"` // a gateway of the app has it
	Holds       int      `json:"holds"`    // running gateways of the app that have it
	Running     int      `json:"running"`  // how many there are
	Waits       []string `json:"waits"`    // instances that have not, for whoever may see the grant
}

// Who names a principal to people.
type Who struct {
	Principal string `json:"principal"`
	Person    string `json:"person,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Policy names the policy that decided.
type Policy struct {
	Commit string `json:"commit"`
	Digest string `json:"digest"`
	Engine string `json:"engine,omitempty"`
}

// Step is one round of approvals.
type Step struct {
	Any    []string `json:"any"`
	Count  int      `json:"count"`
	Within string   `json:"within"`
	Given  int      `json:"given"`            // distinct persons so far
	Signed bool     `json:"signed,omitempty"` // approvals count only with a signature
}

// Approval is one person's word.
type Approval struct {
	ID       string `json:"id"`
	Step     int    `json:"step"`
	Approver Who    `json:"approver"`
	Approves bool   `json:"approves"`
	Reason   string `json:"reason,omitempty"`
	At       string `json:"at"`
}

// Offer is exactly what approvers decide on: Bytes is the canonical JSON, SHA256
// the digest that an approval is given on. Fronts render from Bytes only.
type Offer struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256"`
	Bytes  string `json:"bytes"`
}

// Verdict is the body of approve and deny.
type Verdict struct {
	OfferSHA256 string `json:"offer_sha256"`
	Reason      string `json:"reason,omitempty"`
	// Signature is of the offer's SHA-256, of an approval that policy wants signed.
	Signature *Signature `json:"signature,omitempty"`
}

// Signature is an approver's: exactly one is set.
type Signature struct {
	// SSH is an armoured SSH signature, in the namespace mayfly-approval, of the 64
	// hexadecimal digits of the offer's SHA-256.
	SSH     string     `json:"ssh,omitempty"`
	Passkey *Assertion `json:"passkey,omitempty"`
}

// Assertion is what a passkey answers, its challenge being the offer's SHA-256
// (WebAuthn Level 3, AuthenticatorAssertionResponse). Each is base64.
type Assertion struct {
	ID                []byte `json:"id"` // of the credential
	AuthenticatorData []byte `json:"authenticator_data"`
	ClientData        []byte `json:"client_data"` // clientDataJSON
	Signature         []byte `json:"signature"`
}

// Because is the body of revoke, finish and withdraw.
type Because struct {
	Reason string `json:"reason,omitempty"`
}

// Grant is access in force or past.
type Grant struct {
	ID          string   `json:"id"`
	Request     string   `json:"request"`
	State       string   `json:"state"` // scheduled, active, ended, revoked
	Holder      Who      `json:"holder"`
	Entitlement string   `json:"entitlement"`
	App         string   `json:"app"`
	Class       string   `json:"class"`
	Operations  []string `json:"operations"` // each with its constraints, in words
	NotBefore   string   `json:"not_before"`
	NotAfter    string   `json:"not_after"`
	EndedAt     string   `json:"ended_at,omitempty"`
	EndedBy     string   `json:"ended_by,omitempty"`     // reason code
	IdleAfter   string   `json:"idle_after,omitempty"`   // it ends when it is not used for so long
	LastUsedAt  string   `json:"last_used_at,omitempty"` // as the record tells until now; in a list it is not told
	With        []string `json:"with,omitempty"`         // others of its bundle, with which it ends; in a list they are not told
}

// Reach is where a live grant can be used.
type Reach struct {
	Grant    string   `json:"grant"`
	App      string   `json:"app"`
	Kind     string   `json:"kind"`     // of the app: how it is spoken to
	Hosts    []string `json:"hosts"`    // of the app, at the gateways
	Callers  []string `json:"callers"`  // services, people: the doors that it answers at
	Gateways []string `json:"gateways"` // SPIFFE IDs that the gateways of the app prove to callers
	Holds    int      `json:"holds"`    // running gateway instances at which the grant is in force
	Waits    []string `json:"waits"`    // those that have not acknowledged it yet
}

// Receipts says which instances have heard of a grant's end.
type Receipts struct {
	Grant    string    `json:"grant"`
	Revision int64     `json:"revision"`
	Complete bool      `json:"complete"` // every instance acked or closed
	Waits    []Receipt `json:"waits"`
	With     []string  `json:"with,omitempty"` // other grants of its bundle, which ended with it
}

// Receipt is one instance's.
type Receipt struct {
	Instance    string `json:"instance"`
	State       string `json:"state"` // acked, closed, waiting
	Until       string `json:"until"` // when it is closed whatever it says: its lease has run out by then
	AckedAt     string `json:"acked_at,omitempty"`
	LastAllowed string `json:"last_allowed_at,omitempty"`
	LastAction  string `json:"last_action,omitempty"`
	BoundedAt   string `json:"bounded_at,omitempty"`
	StreamsCut  int    `json:"streams_cut"` // requests under way that it cut; one of ends that it heard of at once may be in each
}

// Node is one running sidecar, or a registered one that does not run.
type Node struct {
	Sidecar     string            `json:"sidecar"`
	Instance    string            `json:"instance,omitempty"` // empty: registered, not running
	Environment string            `json:"environment"`
	Apps        []string          `json:"apps"`
	Version     string            `json:"version,omitempty"`
	State       string            `json:"state"` // fresh, stale, absent, gone
	Revision    int64             `json:"revision"`
	Head        int64             `json:"head"`
	LastPong    string            `json:"last_pong,omitempty"`
	Nack        string            `json:"nack,omitempty"`       // newest refusal of a resource
	Envoy       string            `json:"envoy,omitempty"`      // connected, or absent
	EnvoyNack   string            `json:"envoy_nack,omitempty"` // newest refusal of a configuration
	Catalogues  map[string]string `json:"catalogues,omitempty"`
	Differs     []string          `json:"catalogue_differs,omitempty"` // kinds whose catalogue is not mayflyd's
	Uncovered   []string          `json:"uncovered,omitempty"`         // hosts that people cannot reach there: no certificate, or no address
	Quarantined string            `json:"quarantined,omitempty"`       // since when it is told nothing
	Why         string            `json:"why,omitempty"`               // it is in quarantine, in words
	Strayed     []string          `json:"strayed,omitempty"`           // apps of which it holds something else than it was told; * are sessions and keys
	Checkpoint  string            `json:"checkpoint,omitempty"`        // the newest of the record that it keeps, in its own word: a signed note
	Doubt       string            `json:"doubt,omitempty"`             // why what it is shown of the record does not count for it, in words
}

// Key is one key that access tokens are, or were, signed with.
type Key struct {
	ID         string `json:"kid"` // thumbprint, RFC 7638
	Alg        string `json:"alg"`
	Use        string `json:"use"`   // sig
	State      string `json:"state"` // next, active, retired, gone, removed
	Age        string `json:"age"`   // since it was published
	Published  string `json:"published_at"`
	Activated  string `json:"activated_at,omitempty"`   // since when it signs, or signed
	SignsUntil string `json:"signs_until,omitempty"`    // of an active key: when the schedule has the next one sign
	SignsFrom  string `json:"signs_from,omitempty"`     // of the next key: when it may sign at the earliest
	Verifies   string `json:"verifies_until,omitempty"` // of a retired key
	Ended      string `json:"ended_at,omitempty"`       // of one that verifies nothing any more
}

// KeyRotation asks for the next key to sign.
type KeyRotation struct {
	Now bool `json:"now,omitempty"` // although it was published only lately
}

// KeyRemoval names a key that is to verify nothing any more.
type KeyRemoval struct {
	ID string `json:"kid"`
}

// Lock keeps a human or a workload out.
type Lock struct {
	Target   string   `json:"target"`   // a person's name in policy, else a principal
	Accounts []string `json:"accounts"` // that it holds for
	Name     string   `json:"name,omitempty"`
	By       string   `json:"by,omitempty"`
	At       string   `json:"at"`
	Reason   string   `json:"reason,omitempty"`
	Sessions int      `json:"sessions_ended"`
	Grants   int      `json:"grants_ended"`
	Requests int      `json:"requests_denied"`
}

// LockVerdict names who is locked, or let in again.
type LockVerdict struct {
	Target string `json:"target"`
	Reason string `json:"reason,omitempty"`
}

// NodeVerdict names a gateway that is told nothing more, or taken back.
type NodeVerdict struct {
	Sidecar string `json:"sidecar"` // SPIFFE ID
	Reason  string `json:"reason,omitempty"`
}

// Trace is the chain from request to action, in order of time.
type Trace struct {
	ID      string   `json:"id"` // what was asked for
	Request string   `json:"request,omitempty"`
	Grant   string   `json:"grant,omitempty"`
	Grants  []string `json:"grants,omitempty"` // of a bundle's request: all that came of it
	Entries []Entry  `json:"entries"`
	Missing string   `json:"missing,omitempty"` // what is known not to be there yet, or not listed
	// TraceIDs are the OpenTelemetry traces that were exported, by the id of the
	// request or action whose they are: 32 hexadecimal digits.
	TraceIDs map[string]string `json:"trace_ids,omitempty"`
}

// Entry is one record of a trace.
type Entry struct {
	Time   string            `json:"time"`
	Type   string            `json:"type"`
	Place  string            `json:"place"` // leaf 17, or spl_… 5
	Node   string            `json:"node"`
	Who    string            `json:"who,omitempty"`
	Text   string            `json:"text"`
	Detail map[string]string `json:"detail,omitempty"`
}

// Rule is one finding of a decision, in the order of the checks.
type Rule struct {
	Code string `json:"code"`
	Text string `json:"text"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// Suggestion is what to ask for so that a denied operation would pass.
type Suggestion struct {
	Denial    string   `json:"denial"`
	Code      string   `json:"code"` // why it was denied
	App       string   `json:"app"`
	Operation string   `json:"operation"`
	Ask       Ask      `json:"ask"`
	Missing   []string `json:"missing,omitempty"` // required parameters that the record does not tell
}

// Entitlement is one that can be asked for.
type Entitlement struct {
	Name       string            `json:"name"`
	App        string            `json:"app"`
	Owner      string            `json:"owner"`
	Class      string            `json:"class"`
	Max        string            `json:"max"`
	Default    string            `json:"default"`
	Operations []string          `json:"operations"`
	Params     map[string]string `json:"params,omitempty"` // name to what it takes
	MayAsk     bool              `json:"may_ask"`
	// Entitlements are those of a bundle, which is asked for like an entitlement: then the
	// app is empty, and the bounds are the strictest of theirs.
	Entitlements []string `json:"entitlements,omitempty"`

	Callers []string `json:"callers,omitempty"` // the doors that the app answers at: services, people, clients
}

// Whoami is who the caller is to mayflyd.
type Whoami struct {
	Principal string   `json:"principal"`
	Person    string   `json:"person,omitempty"`
	IDP       string   `json:"idp,omitempty"` // the identity provider of a person's account
	Name      string   `json:"name,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	GroupsAt  string   `json:"groups_at,omitempty"` // when the provider told them
	Ends      string   `json:"session_ends,omitempty"`
	Policy    Policy   `json:"policy"`
	RecordKey string   `json:"record_key"`        // verifies the signature of checkpoints
	Dev       bool     `json:"dev"`               // unsigned policy is accepted
	Notices   []string `json:"notices,omitempty"` // what people are to know of policy, in sentences

	Observed []ObservedApp `json:"observed,omitempty"` // apps on which nobody is denied
}

// PolicyStatus is how policy stands.
type PolicyStatus struct {
	Commit     string           `json:"commit"` // in force; empty: none yet
	Digest     string           `json:"digest"`
	Signers    []string         `json:"signers"` // persons who signed it; none: unsigned (development)
	Since      string           `json:"since,omitempty"`
	How        string           `json:"how,omitempty"` // commit, held, released
	Signatures int              `json:"signatures"`    // that the next commit needs
	Settle     string           `json:"settle"`        // how long a commit waits from which somebody gains
	Dev        bool             `json:"dev"`           // unsigned commits enter into force, and none waits
	Settling   []SettlingCommit `json:"settling"`
	Hold       *PolicyHold      `json:"hold,omitempty"`
	Proposed   *PolicyHold      `json:"proposed_hold,omitempty"`
	Refused    *RefusedCommit   `json:"refused,omitempty"`          // the tip, if it may not enter into force
	Tip        string           `json:"tip,omitempty"`              // of the branch, when it was read last
	ReadAt     string           `json:"read_at,omitempty"`          // when that was, to a minute; never before the tip was seen
	Unreadable string           `json:"unreadable_since,omitempty"` // since when the repository cannot be read
	// Over are the exceptions of the policy in force that are over: what they excused is denied.
	Over    []OverException `json:"over,omitempty"`
	Notices []string        `json:"notices,omitempty"` // the same in sentences
}

// OverException is an exception of the policy in force that is over.
type OverException struct {
	Exception string `json:"exception"`
	Owner     string `json:"owner"`
	For       string `json:"for"` // entitlement or app
	Until     string `json:"until"`
}

// SettlingCommit is a commit that waits, because somebody gains by it.
type SettlingCommit struct {
	Commit  string   `json:"commit"`
	Digest  string   `json:"digest"`
	Signers []string `json:"signers"`
	Seen    string   `json:"seen_at"`
	Due     string   `json:"due_at"`
	Gains   []string `json:"gains"` // in words
}

// PolicyHold keeps policy at a commit.
type PolicyHold struct {
	Commit    string `json:"commit"`
	For       string `json:"for"`
	Proposed  string `json:"proposed_by"`            // as people are shown
	Confirmed string `json:"confirmed_by,omitempty"` // empty: a second person must ask for the same
	Until     string `json:"until"`                  // of the hold, or of the wish for one
	GrantsEnd int    `json:"grants_ended,omitempty"`
}

// HoldVerdict asks for a hold, or confirms one.
type HoldVerdict struct {
	Commit string `json:"commit"` // at least 7 digits of its name
	For    string `json:"for"`    // a duration
}

// RefusedCommit is a commit that may not enter into force.
type RefusedCommit struct {
	Commit string `json:"commit"`
	Reason string `json:"reason"`
	Words  string `json:"words"`
	At     string `json:"at"`
}

// Page is one page of a list. Cursor, if not empty, asks for the next one.
type Page[T any] struct {
	Items  []T    `json:"items"`
	Cursor string `json:"cursor,omitempty"`
}

// Nodes is every registered sidecar and what runs of it.
type Nodes struct {
	Items []Node `json:"items"`
	// Missing names records that an instance wrote and that have not arrived.
	Missing []string `json:"missing,omitempty"`
	// Bundles are those of foreign trust domains, at mayflyd and at each instance.
	Bundles []Bundle `json:"bundles,omitempty"`
	// Observed are the apps on which nobody is denied.
	Observed []ObservedApp `json:"observed,omitempty"`
}

// Bundle is how it stands with the bundle of a foreign trust domain.
type Bundle struct {
	Holder      string `json:"holder"` // an instance, or mayflyd
	TrustDomain string `json:"trust_domain"`
	Fetched     string `json:"fetched,omitempty"` // when its endpoint last told it; empty: not since the holder's start
	Authorities int    `json:"authorities"`       // 0: nobody of the domain is trusted there
	Problem     string `json:"problem,omitempty"` // of the newest try
}

// Problem is an RFC 9457 problem document; every error of the API is one.
type Problem struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail,omitempty"`
	Code    string   `json:"code"`
	Next    string   `json:"next,omitempty"`
	Allowed []string `json:"allowed,omitempty"`
}

// Error returns the detail and the code.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title + " (" + p.Code + ")"
	}
	return p.Detail + " (" + p.Code + ")"
}

// LogoutError is what a provider is told when its logout token ends nothing
// (OpenID Connect Back-Channel Logout §2.8).
type LogoutError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}
