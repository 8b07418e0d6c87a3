package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Code says what sort of mistake a policy file holds. Codes are stable.
type Code string

// The codes of an Error.
const (
	CodeSyntax      Code = "syntax"       // not YAML, or a part of YAML that policy does not use
	CodeFile        Code = "file"         // a file where none may be, or one missing
	CodeUnknownKey  Code = "unknown_key"  // a key that means nothing here
	CodeUnsupported Code = "unsupported"  // a key or word that has a meaning, but not yet
	CodeDuplicate   Code = "duplicate"    // the same name, host or identity twice
	CodeMissing     Code = "missing"      // a key that must be there
	CodeValue       Code = "value"        // a value of the wrong shape
	CodeUnknownName Code = "unknown_name" // a name that nothing has
	CodeConstraint  Code = "constraint"   // a constraint that the operation's schema does not carry
	CodeCEL         Code = "cel"          // a condition that does not compile
	CodeCondition   Code = "condition"    // a condition that is always or never true, or asks for what nobody provides
	CodeOverlap     Code = "overlap"      // two lines that leave open which one counts
	CodeCap         Code = "cap"          // longer or more than a cap allows
	CodeNobody      Code = "nobody"       // a rule that nobody could ever satisfy
	CodeException   Code = "exception"    // what needs an exception, or one that excuses nothing or is over
)

// Error is one mistake in a policy file, fit to show to its author.
type Error struct {
	File    string // slash path relative to the policy folder, "" if it is none's
	Line    int    // from 1; 0 if the mistake is the whole file's
	Column  int    // from 1; 0 if the mistake is the whole file's
	Code    Code
	Message string // what is wrong and what was expected
}

// Error returns file:line:column: message.
func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	default:
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	}
}

// Errors are all the mistakes of one load, by file, line and column. errors.As
// finds the first *Error in it.
type Errors []*Error

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes, for errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}
