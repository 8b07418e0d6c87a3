package grant

import (
	"errors"
	"fmt"
)

// Denial is a no, fit to show to whoever asked: a stable reason, a sentence, and
// what to do next. It never carries a secret or another caller's data. It is an
// error; the private cause, if any, is reached only by errors.Unwrap.
type Denial struct {
	Reason      Reason
	ID          DenialID // zero until it is recorded, and for those only counted
	Sentence    string
	Next        string // a command or a step, may be empty
	Entitlement string // the smallest that would allow the operation, may be empty
	cause       error
}

// Deny returns a Denial with a sentence made by fmt.Sprintf.
func Deny(r Reason, format string, args ...any) *Denial {
	return &Denial{Reason: r, Sentence: fmt.Sprintf(format, args...)}
}

// Because returns a copy of d with a private cause, for logs only.
func (d *Denial) Because(cause error) *Denial {
	out := *d
	out.cause = cause
	return &out
}

// Error returns the reason and the sentence, never the cause.
func (d *Denial) Error() string { return string(d.Reason) + ": " + d.Sentence }

// Unwrap returns the private cause.
func (d *Denial) Unwrap() error { return d.cause }

// Info returns the row of the table of reasons.
func (d *Denial) Info() Info { return d.Reason.Info() }

// Of turns any error into a Denial: a Denial as it is, anything else internal.
// Of(nil) is nil.
func Of(err error) *Denial {
	if err == nil {
		return nil
	}
	var d *Denial
	if errors.As(err, &d) && d != nil {
		return d
	}
	return Deny(Internal, "the request could not be decided").Because(err)
}

// ReasonOf returns the reason of err: "" for nil, internal for an error that is
// no Denial.
func ReasonOf(err error) Reason {
	if d := Of(err); d != nil {
		return d.Reason
	}
	return ""
}
