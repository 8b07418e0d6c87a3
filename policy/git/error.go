package git

import "errors"

// Reason is the stable code of a refused commit or repository.
type Reason string

// The reasons.
const (
	Unreadable     Reason = "unreadable"      // the repository, or an object of it
	NoBranch       Reason = "no_branch"       // nothing at the configured branch
	Unchanged      Reason = "unchanged"       // the tip is the commit in force
	NotDescendant  Reason = "not_descendant"  // the tip does not descend from the one in force
	Unsigned       Reason = "unsigned"        // no signature
	ForgeSignature Reason = "forge_signature" // OpenPGP or X.509, as forges sign their merges
	BadSignature   Reason = "bad_signature"   // an SSH signature that does not hold
	UnknownSigner  Reason = "unknown_signer"  // a signature of a key that policy does not list
	Unreachable    Reason = "unreachable"     // where the repository is fetched from
	OffBranch      Reason = "off_branch"      // it was on the branch, and is no more
	BadFile        Reason = "bad_file"        // a symlink, submodule, odd name, or too much
)

// Error says why a commit does not enter into force. It is fit to show to
// operators.
type Error struct {
	Reason  Reason
	Commit  string // the commit in question, may be empty
	Message string
	cause   error
}

// Error returns the sentence, with the commit's short name in front.
func (e *Error) Error() string {
	if e.Commit == "" {
		return e.Message
	}
	return "commit " + short(e.Commit) + ": " + e.Message
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the reason of err, "" for nil or another sort of error.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func short(commit string) string { return commit[:min(12, len(commit))] }
