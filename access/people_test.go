package access_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

// An approver sees who asks: the name and the address that a provider vouches for, what
// there is of them, and else the account.
func TestApproversSeeWhoAsks(t *testing.T) {
	for _, c := range []struct{ name, email, want string }{
		{"Alice", "alice@acme.example", "Alice <alice@acme.example>"},
		{"Alice", "", "Alice"},
		{"", "alice@acme.example", "alice@acme.example"},
		{"", "", alice},
	} {
		w := newWorld(t)
		if _, _, err := w.NewSession(t.Context(), access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, alice), Name: c.name, Email: c.email}); err != nil {
			t.Fatal(err)
		}
		r := w.ask(w.as(alice), refund(), access.Pending)
		v, err := w.ShowRequest(t.Context(), w.as(bob), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		var o access.Offer
		if err := json.Unmarshal(v.OfferBytes, &o); err != nil {
			t.Fatal(err)
		}
		if o.Requester.Shown != c.want || o.Requester.Principal != alice {
			t.Errorf("name %q, address %q: shown as %q, want %q", c.name, c.email, o.Requester.Shown, c.want)
		}
	}
}

// TestP6_ManyAccountsOfOneHuman: all 256 accounts that are followed are the requester's
// own; with one more nobody approves, rather than one that was not looked at.
func TestP6_ManyAccountsOfOneHuman(t *testing.T) {
	w := newWorld(t)
	twin := func(i int) string { return fmt.Sprintf("user:idp:twin%d", i) }
	listed := `"user:idp:alice-admin"`
	list := func(upto int) {
		was := listed
		listed = `"user:idp:alice-admin"`
		for i := range upto - 2 { // besides alice and alice-admin
			listed += `, "` + twin(i+1) + `"`
		}
		w.apply("mayfly.yaml", was, listed)
	}
	list(256)
	r := w.ask(w.as(alice), refund(), access.Pending)
	_, err := w.Approve(t.Context(), w.in(twin(254), "payments-leads"), r.ID, r.OfferDigest, "")
	wantCode(t, err, access.CodeSelfApproval)
	list(257)
	for _, who := range []string{twin(255), bob} {
		_, err := w.Approve(t.Context(), w.in(who, "payments-leads"), r.ID, r.OfferDigest, "")
		wantCode(t, err, access.CodeInternal)
	}
	if v, err := w.ShowRequest(t.Context(), w.as(dave), r.ID); err != nil || v.State != access.Pending {
		t.Errorf("%s, %v", v.State, err)
	}
}
