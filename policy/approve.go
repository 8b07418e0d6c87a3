package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Approver is who answers, as proven when answering.
type Approver struct {
	Principal identity.Principal
	Person    identity.Person // of Set.PersonOf
	Groups    []identity.Group
	GroupsAt  time.Time
}

// MayApprove reports whether a belongs to a step: nil is yes, a *Refusal with
// not_eligible or login_again says why not. It says nothing about whose request
// it is: the caller asks SamePerson for that (P6).
func MayApprove(step Step, a Approver, now time.Time) error {
	if a.Principal.Kind() != identity.KindUser || a.Person.IsZero() {
		return &Refusal{Code: DenyNotEligible, Sentence: "only persons approve"}
	}
	groups, fresh := freshGroups(a.Principal, a.Groups, a.GroupsAt, now)
	stale := false
	for _, text := range step.Any {
		who, err := ParseSubject(text)
		if err != nil {
			continue
		}
		if who.matches(a.Principal, a.Person, groups) {
			return nil
		}
		stale = stale || who.IsGroup() && !fresh
	}
	if stale {
		return &Refusal{Code: DenyLoginAgain, Sentence: fmt.Sprintf("the groups of %s are not known, or older than %s: log in again", a.Principal, durationText(MaxGroupAge))}
	}
	return &Refusal{Code: DenyNotEligible, Sentence: fmt.Sprintf("%s may not approve this, only %s", a.Principal, strings.Join(step.Any, ", "))}
}

// Account is an account with the e-mail address that its provider vouches for.
type Account struct {
	Principal identity.Principal
	Email     string // verified, else ""
}

// SamePerson reports whether two accounts must be taken for one human when
// deciding who may not approve (P6): the same account, the same person of
// people:, or the same verified address in any case. Nobody counts as the same
// as everybody, so that it approves nothing.
func (s *Set) SamePerson(a, b Account) bool {
	switch {
	case a.Principal.IsZero() || b.Principal.IsZero():
		return true
	case a.Principal == b.Principal, s.PersonOf(a.Principal) == s.PersonOf(b.Principal):
		return true
	default:
		return a.Email != "" && strings.EqualFold(strings.TrimSpace(a.Email), strings.TrimSpace(b.Email))
	}
}
