package policy

import (
	"slices"
	"testing"
)

// Only what a condition asks an acr to be is a way to log in: another text of it would
// fit a condition that only excludes one, and nobody can log in with it.
func TestOnlyAnACRIsOfferedToLogInWith(t *testing.T) {
	for when, want := range map[string][]string{
		"requester.acr != 'pwd' && request.params.charge.startsWith('ch_')":                            nil,
		"requester.acr != 'pwd' && requester.groups.exists(g, g == 'group:idp/support')":               nil,
		"!(requester.acr == 'pwd') && request.params.charge != 'x'":                                    nil,
		"requester.acr == 'mfa' && request.params.charge.startsWith('ch_')":                            {"mfa"},
		"'hwk' == requester.acr && request.params.charge.startsWith('ch_')":                            {"hwk"},
		"requester.acr in ['pwd', 'mfa', 'hwk'] && requester.acr != 'pwd' && requester.acr != 'mfa'":   {"hwk"},
		"(requester.acr == 'mfa' || requester.acr != 'pwd') && request.params.charge in ['ch_1', 'x']": {"mfa"},
	} {
		in := ask(t)
		in.Entitlement, in.Requester.ACR = "stripe/small", "pwd"
		s := closerSet(t, when)
		if got := s.Decide(in).Outcome; got != NeedsApproval {
			t.Errorf("%s: %s as it is", when, got)
		}
		var got []string
		for _, c := range s.Closer(in) {
			for _, e := range c.Edits {
				if e.Kind == EditACR {
					got = append(got, e.To)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: offered %q, want %q", when, got, want)
		}
	}
}
