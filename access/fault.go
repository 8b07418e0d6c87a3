package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is the stable code of a Fault. Codes are never reused. The zero value
// stands for internal.
type Code string

// The codes of faults. A reason that policy gives for a denied request stands in
// Request.Code instead: such a request is stored and can be explained.
const (
	CodeNotFound       Code = "not_found"
	CodeNotEligible    Code = "not_eligible"
	CodeSelfApproval   Code = "self_approval"
	CodeStaleOffer     Code = "stale_offer"
	CodeNotPending     Code = "not_pending"
	CodeAlreadyDecided Code = "already_decided"
	CodeLoginAgain     Code = "login_again"
	CodePendingLimit   Code = "pending_limit"
	CodeInvalid        Code = "invalid"
	CodeKeyReused      Code = "idempotency_key_reused"
	CodeEnded          Code = "ended"
	CodeNotAPerson     Code = "not_a_person"
	CodeNoSession      Code = "no_session"
	CodeNoPolicy       Code = "no_policy"
	CodeNoGrant        Code = "no_grant"
	CodeLocked         Code = "locked"
	CodeInvalidTarget  Code = "invalid_target"
	CodeInvalidDetails Code = "invalid_authorization_details"
	CodeTooSoon        Code = "too_soon"
	CodeNotSigned      Code = "not_signed"
	CodeInternal       Code = "internal"
)

// Exit codes of the command line (contracts §8) that the table uses.
const (
	exitError  = 1
	exitUsage  = 2
	exitDenied = 4
	exitEnded  = 5
)

// FaultInfo is one row of the table of faults: everything that an edge needs to
// show a code in its own protocol.
type FaultInfo struct {
	Title string // a few words, RFC 9457 title
	HTTP  int    // status
	Exit  int    // exit code of the command line
}

// faults is a function, not a variable: nobody can change it.
func faults() map[Code]FaultInfo {
	return map[Code]FaultInfo{
		CodeNotFound:       {"Not found", 404, exitError},
		CodeNotEligible:    {"Not yours to do", 403, exitDenied},
		CodeSelfApproval:   {"Nobody approves their own access", 403, exitDenied},
		CodeStaleOffer:     {"The offer has changed since it was shown", 409, exitError},
		CodeNotPending:     {"The request is not waiting any more", 409, exitError},
		CodeAlreadyDecided: {"This person has decided already", 409, exitError},
		CodeLoginAgain:     {"Log in again", 401, exitError},
		CodePendingLimit:   {"Too many requests are waiting", 429, exitDenied},
		CodeInvalid:        {"The request cannot be understood", 422, exitUsage},
		CodeKeyReused:      {"The idempotency key was used for something else", 422, exitUsage},
		CodeEnded:          {"The access has ended", 409, exitEnded},
		CodeNotAPerson:     {"Only a person can do this", 403, exitDenied},
		CodeNoSession:      {"Not logged in", 401, exitError},
		CodeNoPolicy:       {"No policy is in force", 503, exitError},
		CodeNoGrant:        {"No access has been granted", 403, exitDenied},
		CodeLocked:         {"This principal is locked", 403, exitDenied},
		CodeInvalidTarget:  {"No token for this resource", 400, exitDenied},
		CodeInvalidDetails: {"No token with these details", 400, exitDenied},
		CodeTooSoon:        {"It is too early", 409, exitError},
		CodeNotSigned:      {"The approval is not signed as it must be", 422, exitDenied},
		CodeInternal:       {"Something went wrong", 500, exitError},
	}
}

// Info returns the row of c. A code that is not in the table is internal.
func (c Code) Info() FaultInfo {
	if i, ok := faults()[c]; ok {
		return i
	}
	return faults()[CodeInternal]
}

// Codes returns every code of the table, sorted.
func Codes() []Code {
	var out []Code
	for c := range faults() {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// Fault is a verb's no, fit to show to whoever called: a stable code, a sentence
// and what to do next. It never tells of what the caller may not see. It is an
// error; a private cause is reached only by errors.Unwrap.
type Fault struct {
	Code     Code
	Sentence string
	Next     string // a command or a step, may be empty
	cause    error
}

// Error returns the code and the sentence, never the cause.
func (f *Fault) Error() string { return string(f.Code) + ": " + f.Sentence }

// Unwrap returns the private cause.
func (f *Fault) Unwrap() error { return f.cause }

// Info returns the row of the table of faults.
func (f *Fault) Info() FaultInfo { return f.Code.Info() }

// FaultOf turns any error into a Fault: a Fault as it is, anything else internal
// with err as its private cause. FaultOf(nil) is nil.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) && f != nil {
		return f
	}
	return &Fault{Code: CodeInternal, Sentence: "the request could not be carried out", cause: err}
}

// CodeOf returns the code of err: "" for nil, internal for an error that is no Fault.
func CodeOf(err error) Code {
	if f := FaultOf(err); f != nil {
		return f.Code
	}
	return ""
}

func fault(c Code, next, format string, args ...any) *Fault {
	return &Fault{Code: c, Next: next, Sentence: fmt.Sprintf(format, args...)}
}

// notFound is the one answer about what is not there and about what is somebody
// else's, in the same words.
func notFound(id string) *Fault {
	next := "mayfly requests"
	if strings.HasPrefix(id, "grt_") {
		next = "mayfly grants"
	}
	return fault(CodeNotFound, next, "there is no %q that you can see", clip(id))
}

func loginAgain() *Fault {
	return fault(CodeLoginAgain, "mayfly login", "your groups were last read more than %s ago", groupsFresh)
}

// missing turns ErrNotFound into the answer notFound and leaves other errors be.
func missing(err error, id string) error {
	if errors.Is(err, ErrNotFound) {
		return notFound(id)
	}
	return err
}

func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
