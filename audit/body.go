package audit

// Attr is an attribute of an operation as the record keeps it: its value if the
// catalogue marks it recordable, else only the HMAC that Commit makes. With
// neither the value is the empty text.
type Attr struct {
	Value string `json:"value,omitempty"`
	HMAC  string `json:"hmac,omitempty"`
}

// Ask is the request on the wire.
type Ask struct {
	Certificate Hash   `json:"certificate,omitzero"` // SHA-256 of the peer's certificate (DER)
	Session     string `json:"session,omitempty"`    // ses_ id of the browser session that proved a person, instead
	Method      string `json:"method"`
	Authority   string `json:"authority"`
	Path        Hash   `json:"path,omitzero"` // SHA-256 of path and query as received
	Body        Hash   `json:"body,omitzero"` // SHA-256 of the body, if it was read
}

// Try is what an intent and a denial have in common: one try of an operation.
// Persons stand in it as their p_ pseudonyms.
type Try struct {
	Action      string          `json:"action"`
	Token       string          `json:"token,omitempty"`
	Principal   string          `json:"principal,omitempty"`
	Act         []string        `json:"act,omitempty"` // chain of actors, nearest first
	App         string          `json:"app,omitempty"`
	Operation   string          `json:"operation,omitempty"`
	Resource    string          `json:"resource,omitempty"`
	Attributes  map[string]Attr `json:"attributes,omitempty"`
	Class       string          `json:"class,omitempty"` // read, write, money, secret or admin
	Ask         Ask             `json:"ask"`
	Epoch       uint64          `json:"epoch,string"`
	Revision    uint64          `json:"revision,string"`     // of the feed, as applied
	FreshnessMS int64           `json:"freshness_ms,string"` // age of the lease's newest Ping
	Deadline    Time            `json:"deadline,omitzero"`   // when the request is cut off
	Resolved    map[string]Attr `json:"resolved,omitempty"`  // facts looked up before deciding
	Trace       string          `json:"trace,omitempty"`     // id of the exported trace of it, which the caller may have chosen
}

// Intent is the body of action.intent: on the record before the act.
type Intent struct {
	Grant string `json:"grant"`
	Try
}

// Observed is the body of action.observed: a try that was passed on without a decision,
// because its app was in observe mode. It is on the record before the act, as an intent
// is, and is never one: nothing was allowed. Either Grant or Code is there.
type Observed struct {
	Grant string `json:"grant,omitempty"` // would have been allowed, under this grant
	Code  string `json:"code,omitempty"`  // would have been denied, with this reason code
	Until Time   `json:"until,omitzero"`  // from then on the app is enforced; zero: no end is set
	Try
}

// ObservedApp is an app in observe mode, as the leaf policy.applied lists it under
// observed: nothing passes undecided to any other.
type ObservedApp struct {
	App   string `json:"app"`
	Until Time   `json:"until,omitzero"` // exclusive; zero: no end
}

// Denied is the body of action.denied: a try without a grant.
type Denied struct {
	Denial string `json:"denial"` // den_ id
	Code   string `json:"code"`   // reason code of contracts §4
	Try
}

// Result is what became of an intent.
type Result string

// The results. There is no other.
const (
	ResultSent    Result = "sent"     // the upstream got it
	ResultNotSent Result = "not_sent" // the upstream got no byte of it
	ResultUnknown Result = "unknown"  // one of the two
)

// ReasonRestart is the reason of an Outcome that closes, with ResultUnknown, an
// intent which the process before left open.
const ReasonRestart = "restart"

// Outcome is the body of action.outcome: at most one for each intent, in the
// same spool, after it.
type Outcome struct {
	Action     string `json:"action"`
	Result     Result `json:"result"`
	Status     int    `json:"status,string,omitempty"` // HTTP status, 0 if there was none
	Reason     string `json:"reason,omitempty"`        // why it was not sent or is unknown
	Bytes      int64  `json:"bytes,string"`            // of the answer's body
	EndedBy    string `json:"ended_by,omitempty"`      // what cut it short
	UpstreamID string `json:"upstream_id,omitempty"`   // the provider's own request id
}

// Rebound is the body of action.rebound: the grant of a stream that is under way has
// ended, and another one of the same holder covers it. In the intent's spool, after it
// and before its outcome. If the stream is cut all the same, its outcome says so.
type Rebound struct {
	Action   string `json:"action"`
	From     string `json:"from"`  // the grant that ended
	Grant    string `json:"grant"` // the one that it goes on under
	Epoch    uint64 `json:"epoch,string"`
	Revision uint64 `json:"revision,string"` // of the feed, as applied
	Deadline Time   `json:"deadline"`        // when it is cut off now
}

// DeniedCount is the body of action.denied_count: refusals for one reason that
// were not written one by one.
type DeniedCount struct {
	Code  string `json:"code"`
	Peer  string `json:"peer,omitempty"` // principal or pseudonym, empty if unauthenticated
	Count uint64 `json:"count,string"`
	From  Time   `json:"from"`
	To    Time   `json:"to"`
}

// SpoolStarted is the body of spool.started: a process took over the spool.
type SpoolStarted struct {
	Spool   string `json:"spool"`             // spl_ id
	Version string `json:"version,omitempty"` // of the program
	Cut     int64  `json:"cut,string"`        // bytes of a torn tail that were cut off
	Closed  uint64 `json:"closed,string"`     // intents closed as unknown, restart
}

// SpoolAlarm is the body of spool.alarm.
type SpoolAlarm struct {
	Reason string `json:"reason,omitempty"` // code of contracts §4
	Text   string `json:"text"`             // in words
	// The two signed checkpoints that contradict each other, or the one that an
	// operator let go.
	Kept  string `json:"kept,omitempty"`
	Shown string `json:"shown,omitempty"`
}

// Reserved is the body of the leaf action.reserved: mayflyd saw the intent
// before the act. It pairs with exactly one frame.
type Reserved struct {
	Action   string `json:"action"`
	Grant    string `json:"grant"`
	Class    string `json:"class"`
	Calls    uint64 `json:"calls,string"`
	Amount   string `json:"amount,omitempty"` // decimal minor units
	Currency string `json:"currency,omitempty"`
	Spool    string `json:"spool"`
	Seq      uint64 `json:"seq,string"`
	Frame    Hash   `json:"frame"` // FrameSHA256 of the intent
}

// Anchor is the body of the leaf segment.anchored: a segment was accepted whole.
type Anchor struct {
	Spool     string `json:"spool"`
	First     uint64 `json:"first,string"`
	Last      uint64 `json:"last,string"`
	Root      Hash   `json:"root"`       // tlog tree over the payloads
	ChainHead Hash   `json:"chain_head"` // SHA-256 of the last payload
}

// GrantCreated is the part of grant.created that Verify reads; the writer adds
// what else it has. NotBefore is optional.
type GrantCreated struct {
	Grant     string `json:"grant"`
	Principal string `json:"principal"` // pseudonym
	App       string `json:"app"`
	Class     string `json:"class"`
	NotBefore Time   `json:"not_before,omitzero"`
	NotAfter  Time   `json:"not_after"` // exclusive
}
