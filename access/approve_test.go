package access_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// login makes a session, so that the account's verified e-mail is known.
func (w *world) login(who, email string) access.Session {
	w.t.Helper()
	_, s, err := w.NewSession(w.t.Context(), access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(w.t, who), Name: "N", Email: email})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// Every account below is in the approving group: only who it is can refuse it.
func TestP6_NobodyApprovesTheirOwnAccess(t *testing.T) {
	const twin = "user:idp:twin" // an account that no policy lists
	for _, c := range []struct {
		name                string
		requester, approver string
		before, after       func(*world) // before the request, and before the approval
		want                access.Code  // "" approves
	}{
		{"another person", alice, bob, nil, nil, ""},
		{"the same account", alice, alice, nil, nil, access.CodeSelfApproval},
		{"another account of the same person", alice, aliceAdmin, nil, nil, access.CodeSelfApproval},
		{"the account with the same verified e-mail", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
			w.login(twin, "alice@acme.example")
		}, nil, access.CodeSelfApproval},
		{"the same e-mail in another case", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
			w.login(twin, " Alice@ACME.example ")
		}, nil, access.CodeSelfApproval},
		{"the same e-mail as the person's other account", alice, twin, func(w *world) {
			w.login(aliceAdmin, "alice@acme.example")
			w.login(twin, "alice@acme.example")
		}, nil, access.CodeSelfApproval},
		{"an e-mail that was changed after the request", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
			w.login(twin, "alice@acme.example")
		}, func(w *world) { w.login(twin, "twin@acme.example") }, access.CodeSelfApproval},
		{"an e-mail that became the same after the request", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
		}, func(w *world) { w.login(twin, "alice@acme.example") }, access.CodeSelfApproval},
		{"an e-mail that went to another account after the request", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
		}, func(w *world) {
			w.login(alice, "renamed@acme.example")
			w.login(twin, "alice@acme.example")
		}, access.CodeSelfApproval},
		{"an e-mail that a login after the request did not tell", alice, twin, func(w *world) {
			w.login(alice, "alice@acme.example")
		}, func(w *world) {
			w.login(alice, "")
			w.login(twin, "alice@acme.example")
		}, access.CodeSelfApproval},
		{"an account that policy no longer lists as the person's", alice, aliceAdmin, nil, func(w *world) {
			w.apply("mayfly.yaml", `, "user:idp:alice-admin"`, "")
		}, access.CodeSelfApproval},
		{"an account that policy lists as the person's since", alice, twin, nil, func(w *world) {
			w.apply("mayfly.yaml", `"user:idp:alice-admin"`, `"user:idp:twin"`)
		}, access.CodeSelfApproval},
		{"an account that policy lists in place of all the person's others since", alice, twin, nil, func(w *world) {
			w.apply("mayfly.yaml", `"user:idp:alice", "user:idp:alice-admin"`, `"user:idp:twin"`)
		}, access.CodeSelfApproval},
		{"an e-mail that both accounts have only since the request", alice, twin, nil, func(w *world) {
			w.login(alice, "alice@acme.example")
			w.login(twin, "alice@acme.example")
		}, access.CodeSelfApproval},
		{"an account that policy lists since, under another name of the person", alice, twin, nil, func(w *world) {
			w.apply("mayfly.yaml", "person: alice", "person: alicia", `"user:idp:alice-admin"`, `"user:idp:twin"`)
		}, access.CodeSelfApproval},
		{"two accounts without an e-mail", alice, bob, func(w *world) {
			w.login(alice, "")
			w.login(bob, "")
		}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.before != nil {
				c.before(w)
			}
			r := w.ask(w.in(c.requester, "support", "payments-leads"), refund(), access.Pending)
			if c.after != nil {
				c.after(w)
			}
			before := len(w.leaves())
			approver := w.in(c.approver, "support", "payments-leads")
			got, err := w.Approve(t.Context(), approver, r.ID, r.OfferDigest, "")
			wantCode(t, err, c.want)
			if c.want == "" {
				if got.State != access.Approved {
					t.Fatalf("state %s", got.State)
				}
				return
			}
			if len(w.leaves()) != before {
				t.Error("a refused approval left a leaf")
			}
			_, err = w.Deny(t.Context(), approver, r.ID, "")
			wantCode(t, err, c.want)
			if waiting, err := w.Waiting(t.Context(), approver); err != nil || len(waiting) != 0 {
				t.Errorf("own request waits for oneself: %v, %v", waiting, err)
			}
		})
	}
}

func TestApprove(t *testing.T) {
	for _, c := range []struct {
		name   string
		caller func(*world) access.Caller
		change func(*world, *access.Request)
		want   access.Code
	}{
		{"as shown", func(w *world) access.Caller { return w.as(bob) }, nil, ""},
		{"outside the group", func(w *world) access.Caller { return w.as(erin) }, nil, access.CodeNotEligible},
		{"in the group of that name at another provider", func(w *world) access.Caller {
			c := w.as(erin)
			for _, name := range []string{"group:other/payments-leads", "group:other/idp/payments-leads"} {
				g, err := identity.ParseGroup(name)
				if err != nil {
					w.t.Fatal(err)
				}
				c.Groups = append(c.Groups, g)
			}
			return c
		}, nil, access.CodeNotEligible},
		{"security is no approver", func(w *world) access.Caller { return w.as(dave) }, nil, access.CodeNotEligible},
		{"a workload", func(w *world) access.Caller { return w.in("spiffe://acme.example/x", "payments-leads") }, nil, access.CodeNotAPerson},
		{"nobody", func(w *world) access.Caller { return access.Caller{} }, nil, access.CodeNotAPerson},
		{"another digest", func(w *world) access.Caller { return w.as(bob) }, func(_ *world, r *access.Request) { r.OfferDigest = r.Offer.String() }, access.CodeStaleOffer},
		{"no digest", func(w *world) access.Caller { return w.as(bob) }, func(_ *world, r *access.Request) { r.OfferDigest = "" }, access.CodeStaleOffer},
		{"no such request", func(w *world) access.Caller { return w.as(bob) }, func(_ *world, r *access.Request) { r.ID = grant.NewMinter().NewRequestID(epoch) }, access.CodeNotFound},
		{"groups of 15 minutes ago", func(w *world) access.Caller { c := w.as(bob); w.pass(15 * time.Minute); return c }, nil, ""},
		{"older groups", func(w *world) access.Caller { c := w.as(bob); w.pass(15*time.Minute + 1000); return c }, nil, access.CodeLoginAgain},
		{"too late", func(w *world) access.Caller { w.pass(20 * time.Minute); return w.as(bob) }, nil, access.CodeNotPending},
		{"withdrawn", func(w *world) access.Caller { return w.as(bob) }, func(w *world, r *access.Request) {
			if _, err := w.Withdraw(w.t.Context(), w.as(refunder), r.ID); err != nil {
				w.t.Fatal(err)
			}
		}, access.CodeNotPending},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.ask(w.as(refunder), refund(), access.Pending)
			caller := c.caller(w)
			if c.change != nil {
				c.change(w, &r)
			}
			before := len(w.leaves())
			got, err := w.Approve(t.Context(), caller, r.ID, r.OfferDigest, "ok")
			wantCode(t, err, c.want)
			if c.want != "" {
				if n := len(w.leaves()); n != before {
					t.Errorf("%d leaves of a refused approval", n-before)
				}
				return
			}
			if got.State != access.Approved {
				t.Fatalf("state %s: %s", got.State, got.Sentence)
			}
			if types := w.types(before); types != "approval.given decision.made request.approved grant.created" {
				t.Errorf("leaves %s", types)
			}
			_, err = w.Approve(t.Context(), w.as(carol), r.ID, r.OfferDigest, "")
			wantCode(t, err, access.CodeNotPending)
		})
	}
}

func TestApprovalStepsAndDistinctPersons(t *testing.T) {
	w := newWorld(t)
	w.apply("entitlements/stripe/refunds.yaml", "    - {any: [group:idp/payments-leads], count: 1, within: 20m}",
		"    - {any: [group:idp/payments-leads], count: 2, within: 20m}\n    - {any: [carol, group:idp/security], count: 1, within: 1h}")
	w.login(bob, "bob@acme.example")
	w.login("user:idp:bob2", "bob@acme.example")
	r := w.ask(w.as(refunder), refund(), access.Pending)
	ctx := t.Context()
	say := func(who string, want access.Code, state access.RequestState) {
		t.Helper()
		got, err := w.Approve(ctx, w.in(who, "payments-leads", "security"), r.ID, r.OfferDigest, "")
		wantCode(t, err, want)
		if want == "" && got.State != state {
			t.Fatalf("state %s, want %s", got.State, state)
		}
	}
	_, err := w.Approve(ctx, w.in(dave, "security"), r.ID, r.OfferDigest, "")
	wantCode(t, err, access.CodeNotEligible) // the second step, before the first
	say(bob, "", access.Pending)
	say(bob, access.CodeAlreadyDecided, "")
	say("user:idp:bob2", access.CodeAlreadyDecided, "") // the same person
	w.pass(19 * time.Minute)
	say(erin, "", access.Pending) // the first step is done
	w.pass(30 * time.Minute)      // the second one has its own time
	say(bob, access.CodeAlreadyDecided, "")
	say(dave, "", access.Approved)
	v, err := w.ShowRequest(ctx, w.as(refunder), r.ID)
	if err != nil || len(v.Approvals) != 3 || v.Approvals[2].Step != 1 {
		t.Fatalf("approvals %+v, %v", v.Approvals, err)
	}
}

// Two who said yes at the first step are not the two whom the second one wants.
func TestApprovalsCountForTheirOwnStepOnly(t *testing.T) {
	w := newWorld(t)
	w.apply(refundsFile, "    - {any: [group:idp/payments-leads], count: 1, within: 20m}",
		"    - {any: [group:idp/payments-leads], count: 2, within: 20m}\n    - {any: [group:idp/security], count: 2, within: 1h}")
	r := w.ask(w.as(refunder), refund(), access.Pending)
	for _, c := range []struct {
		who, group string
		want       access.RequestState
	}{
		{bob, "payments-leads", access.Pending}, {carol, "payments-leads", access.Pending}, // the first step has its two
		{dave, "security", access.Pending}, {erin, "security", access.Approved},
	} {
		got, err := w.Approve(t.Context(), w.in(c.who, c.group), r.ID, r.OfferDigest, "")
		if err != nil || got.State != c.want {
			t.Fatalf("after %s of %s: %s, %v", c.who, c.group, got.State, err)
		}
	}
}

func TestApprovalUnderAPolicyThatChanged(t *testing.T) {
	const file = "entitlements/stripe/refunds.yaml"
	for _, c := range []struct {
		name     string
		old, new string
		want     access.RequestState
	}{
		{"words that grant nothing else", "# Give money back", "# Return money", access.Approved},
		{"a lower cap on the parameter", "max: 50000}", "max: 100}", access.Denied},
		{"a shorter cap", "max: 2h, default: 30m", "max: 10m, default: 10m", access.Denied},
		{"a shorter default", "default: 30m", "default: 20m", access.Denied},
		{"one operation less", "  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}\n", "", access.Denied},
		{"a wider rule", "where: {charge: {is: $charge}, amount: {max: $amount_max}}}", "where: {amount: {max: $amount_max}}}", access.Denied},
		{"the requester may not ask any more", `, "spiffe://acme.example/ns/pay/sa/refunder"`, "", access.Denied},
		{"other approvers", "group:idp/payments-leads", "group:idp/security", access.Denied},
		{"more approvers", "count: 1", "count: 2", access.Denied},
		{"by rule since", "  steps:", "  auto: {when: \"true\"}\n  steps:", access.Approved},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.ask(w.as(refunder), refund(), access.Pending)
			w.apply(file, c.old, c.new)
			got, err := w.Approve(t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
			if err != nil || got.State != c.want {
				t.Fatalf("state %s (%s), %v; want %s", got.State, got.Sentence, err, c.want)
			}
			if c.want == access.Denied && (got.Code != string(grant.PolicyChanged) || !got.Grant.IsZero()) {
				t.Fatalf("code %s, grant %s", got.Code, got.Grant)
			}
		})
	}
}

func TestTwoApprovalsAtOnceMakeOneGrant(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(refunder), refund(), access.Pending)
	callers := []access.Caller{w.as(bob), w.as(carol)}
	errs := make([]error, len(callers))
	var wait sync.WaitGroup
	for i, c := range callers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			_, errs[i] = w.Approve(context.WithoutCancel(t.Context()), c, r.ID, r.OfferDigest, "")
		}()
	}
	wait.Wait()
	codes := map[access.Code]int{access.CodeOf(errs[0]): 1}
	codes[access.CodeOf(errs[1])]++
	if codes[""] != 1 || codes[access.CodeNotPending] != 1 {
		t.Fatalf("%v", errs)
	}
	if all, err := w.Grants(t.Context(), w.as(refunder), access.ListGrants{}); err != nil || len(all) != 1 {
		t.Fatalf("%d grants, %v", len(all), err)
	}
}

func TestStatesOfARequest(t *testing.T) {
	verbs := map[string]func(*world, access.Request) error{
		"approve": func(w *world, r access.Request) error {
			_, err := w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
			return err
		},
		"deny": func(w *world, r access.Request) error {
			_, err := w.Deny(w.t.Context(), w.as(bob), r.ID, "no")
			return err
		},
		"withdraw": func(w *world, r access.Request) error {
			_, err := w.Withdraw(w.t.Context(), w.as(refunder), r.ID)
			return err
		},
		"expire": func(w *world, r access.Request) error {
			w.pass(20 * time.Minute)
			_, err := w.Expire(w.t.Context())
			return err
		},
	}
	ends := map[string]access.RequestState{"approve": access.Approved, "deny": access.Denied, "withdraw": access.Withdrawn, "expire": access.Expired}
	for first, state := range ends {
		for second := range ends {
			t.Run(first+" then "+second, func(t *testing.T) {
				w := newWorld(t)
				r := w.ask(w.as(refunder), refund(), access.Pending)
				if err := verbs[first](w, r); err != nil {
					t.Fatal(err)
				}
				before := len(w.leaves())
				err := verbs[second](w, r)
				if second == "expire" {
					if err != nil {
						t.Fatal(err)
					}
				} else {
					wantCode(t, err, access.CodeNotPending)
				}
				v, err := w.ShowRequest(t.Context(), w.as(refunder), r.ID)
				if err != nil || v.State != state || v.DecidedAt.IsZero() || len(w.leaves()) != before {
					t.Fatalf("state %s, want %s; %v; %s", v.State, state, err, w.types(before))
				}
			})
		}
	}
}

func TestOnlyTheRequesterWithdraws(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(alice), refund(), access.Pending)
	for _, who := range []string{aliceAdmin, bob, dave, erin} {
		_, err := w.ShowRequest(t.Context(), w.as(who), r.ID)
		want := access.CodeNotEligible // in those words for whoever sees it anyway
		if err != nil {
			want = access.CodeNotFound
		}
		_, err = w.Withdraw(t.Context(), w.as(who), r.ID)
		wantCode(t, err, want)
	}
	if _, err := w.Withdraw(t.Context(), access.Caller{}, r.ID); !errors.As(err, new(*access.Fault)) {
		t.Fatal("nobody withdrew")
	}
}

func TestTheWordsOfAnAnswerAreTextOfSomeLength(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(refunder), refund(), access.Pending)
	for _, words := range []string{strings.Repeat("x", policy.MaxJustification+1), "\xff"} {
		_, err := w.Deny(t.Context(), w.as(bob), r.ID, words)
		wantCode(t, err, access.CodeInvalid)
	}
	if r, err := w.Deny(t.Context(), w.as(bob), r.ID, strings.Repeat("x", policy.MaxJustification)); err != nil || r.State != access.Denied {
		t.Fatalf("%s, %v", r.State, err)
	}
}
