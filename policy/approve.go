package policy

import (
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Approver is who answers, as proven when answering.
type Approver struct {
	Principal identity.Principal
	Person    identity.Person
	Groups    []identity.Group
	GroupsAt  time.Time
}

// MayApprove reports whether a belongs to a step: nil is yes, a *Refusal with
// not_eligible or login_again says why not. It says nothing about whose request
// it is: the caller asks SamePerson for that (P6).
func MayApprove(step Step, a Approver, now time.Time) error {
	return nil
}

// Account is an account with the e-mail address that its provider vouches for.
type Account struct {
	Principal identity.Principal
	Email     string // verified, else ""
}

// SamePerson reports whether two accounts must be taken for one human when
// deciding who may not approve (P6): the same account, the same person of
// people:, or the same verified address in any case. Nobody is everybody: a
// zero Principal is the same as any, so that it approves nothing.
func (s *Set) SamePerson(a, b Account) bool {
	return true
}
