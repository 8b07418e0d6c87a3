package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
)

func TestHowPolicyStandsIsInTheAnswers(t *testing.T) {
	w := newWorld(t)
	alice := w.session("alice", "support")
	status := func() api.PolicyStatus {
		return read[api.PolicyStatus](t, w.do(ask{method: "GET", path: "/api/v1/policy", session: alice}), http.StatusOK)
	}
	v := status()
	if v.Commit != strings.Repeat("1", 40) || len(v.Signers) != 1 || v.Signatures != 1 || v.Settle != "15m0s" || len(v.Settling) != 0 || v.Refused != nil || len(v.Notices) != 0 {
		t.Errorf("%+v", v)
	}
	if err := w.RefusePolicy(t.Context(), strings.Repeat("2", 40), "unsigned", "it is not signed"); err != nil {
		t.Fatal(err)
	}
	if err := w.LostPolicy(t.Context()); err != nil {
		t.Fatal(err)
	}
	v = status()
	if v.Refused == nil || v.Refused.Reason != "unsigned" || v.Unreadable == "" {
		t.Errorf("%+v", v)
	}
	who := read[api.Whoami](t, w.do(ask{method: "GET", path: "/api/v1/whoami", session: alice}), http.StatusOK)
	r := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk}), http.StatusCreated)
	for what, notices := range map[string][]string{"whoami": who.Notices, "a request": r.Notices, "status": v.Notices} {
		if got := strings.Join(notices, "\n"); !strings.Contains(got, "cannot be read since") || !strings.Contains(got, "222222222222 is refused (unsigned)") {
			t.Errorf("%s says %q", what, got)
		}
	}
}
