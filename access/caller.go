package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// groupsFresh is how old the groups of a person may be when they decide
// (contracts §7).
const groupsFresh = 15 * time.Minute

// Caller is whoever calls a verb, as the edge proved it: a person by a session,
// a workload by its certificate. The zero value may do nothing.
type Caller struct {
	Principal identity.Principal
	Groups    []identity.Group
	GroupsAt  time.Time // when the source told the groups; zero: never
	ACR       string
	Session   grant.SessionID // zero for a workload
}

// CallerOf returns the caller that a session stands for.
func CallerOf(s Session) Caller {
	return Caller{Principal: s.Principal, Groups: s.Groups, GroupsAt: s.GroupsAt, ACR: s.ACR, Session: s.ID}
}

// isPerson reports whether c is an account of a human.
func (c Caller) isPerson() bool { return c.Principal.Kind() == identity.KindUser }

// fresh reports whether c's groups may decide at now. A workload has none, and
// decides by its name.
func (c Caller) fresh(now time.Time) bool {
	return !c.isPerson() || !c.GroupsAt.IsZero() && now.Sub(c.GroupsAt) <= groupsFresh
}

// known refuses a workload of a trust domain that policy leaves out of its list:
// nobody, whatever its certificate proves.
func known(set *policy.Set, p identity.Principal) error {
	if set.Knows(p) {
		return nil
	}
	return fault(CodeNotEligible, "", "policy lists no trust domain %s: its workloads are nobody here", clip(p.TrustDomain()))
}
