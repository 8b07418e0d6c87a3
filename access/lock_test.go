package access_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

const frank = "user:idp:frank" // security too

func (w *world) lock(target string) access.Locked {
	w.t.Helper()
	l, err := w.Lock(w.t.Context(), w.as(dave), target, "a lost laptop")
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// mayUnlock gives dave a grant of principals.unlock.
func (w *world) mayUnlock() access.Request {
	w.t.Helper()
	r := w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/operate", Reason: "found again"}, access.Pending)
	r, err := w.Approve(w.t.Context(), w.in(frank, "security"), r.ID, r.OfferDigest, "")
	if err != nil || r.State != access.Approved {
		w.t.Fatalf("%s, %v", r.State, err)
	}
	return r
}

func TestP4_ALockEndsAllThatSomebodyHolds(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	secret, _ := w.loggedIn(access.SessionAPI, alice)
	second, _ := w.loggedIn(access.SessionConsole, aliceAdmin)
	other, _ := w.loggedIn(access.SessionAPI, bob)
	held := w.ask(w.as(alice), refund(), access.Pending)
	held, err := w.Approve(ctx, w.as(bob), held.ID, held.OfferDigest, "")
	if err != nil {
		t.Fatal(err)
	}
	stays := w.granted() // the refunder's
	waits := w.ask(w.as(alice), refund(), access.Pending)
	head := w.head()

	l := w.lock(aliceAdmin) // by any of the accounts
	if l.Target != "alice" || len(l.Accounts) != 2 || l.Sessions != 2 || l.Grants != 1 || l.Requests != 1 || l.Same {
		t.Fatalf("%+v", l)
	}
	w.wantLive("the first account's", access.SessionAPI, secret, false)
	w.wantLive("the second account's", access.SessionConsole, second, false)
	w.wantLive("somebody else's", access.SessionAPI, other, true)
	w.grantIs(w.as(alice), held.Grant, grant.RevokedState, grant.Locked)
	w.grantIs(w.as(refunder), stays.Grant, grant.Active, "")
	v, err := w.ShowRequest(ctx, w.as(alice), waits.ID)
	if err != nil || v.State != access.Denied || v.Code != string(access.CodeLocked) {
		t.Fatalf("the request is %s %s, %v", v.State, v.Code, err)
	}
	if _, err := w.identity(alice); err == nil {
		t.Error("the refresh token is kept")
	}
	changes, ok, err := w.Source().Changes(ctx, head, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || changes[0].Removals[0].GetReason() != string(grant.Locked) {
		t.Fatalf("changes %v, %v, %v", changes, ok, err)
	}

	// It is on the record, without a name or a word of the reason.
	leaf := w.leafWords(audit.TypeAdministration)
	if leaf["operation"] != policy.OwnPrincipalsLock || leaf["sessions"] != "2" || leaf["grants"] != "1" || leaf["requests"] != "1" {
		t.Errorf("on record stands %v", leaf)
	}
	text, err := json.Marshal(w.leaves())
	if err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"laptop", alice, aliceAdmin, dave} {
		if strings.Contains(string(text), personal) {
			t.Errorf("the record tells %q", personal)
		}
	}
}

func TestLockingTwiceChangesNothing(t *testing.T) {
	w := newWorld(t)
	first := w.lock("alice")
	before, head := len(w.leaves()), w.head()
	w.pass(time.Minute)
	for _, target := range []string{"alice", alice, aliceAdmin} {
		if again := w.lock(target); !again.Same || !again.At.Equal(first.At) || again.Target != "alice" {
			t.Errorf("%s again: %+v", target, again)
		}
	}
	if len(w.leaves()) != before || w.head() != head {
		t.Error("the record or the feed moved")
	}
	list, err := w.Locks(t.Context(), w.as(dave))
	if err != nil || len(list) != 1 || list[0].Reason != "a lost laptop" || list[0].By.String() != dave {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestWhoMayLock(t *testing.T) {
	for _, c := range []struct {
		name, target string
		caller       func(*world) access.Caller
		want         access.Code
	}{
		{"security", refunder, func(w *world) access.Caller { return w.as(dave) }, ""},
		{"an approver", refunder, func(w *world) access.Caller { return w.as(bob) }, access.CodeNoGrant},
		{"a workload", alice, func(w *world) access.Caller { return w.in(refunder, "security") }, access.CodeNoGrant},
		{"nobody", alice, func(*world) access.Caller { return access.Caller{} }, access.CodeNoGrant},
		{"security with old groups", alice, func(w *world) access.Caller { c := w.as(dave); w.pass(16 * time.Minute); return c }, access.CodeLoginAgain},
		{"security that is locked", alice, func(w *world) access.Caller { c := w.in(frank, "security"); w.lock(frank); return c }, access.CodeLocked},
		{"no principal", "user:", func(w *world) access.Caller { return w.as(dave) }, access.CodeInvalid},
		{"no person of policy", "mallory", func(w *world) access.Caller { return w.as(dave) }, access.CodeInvalid},
		{"an account that never came", "user:idp:new", func(w *world) access.Caller { return w.as(dave) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			caller := c.caller(w)
			before := len(w.leaves())
			_, err := w.Lock(t.Context(), caller, c.target, "")
			wantCode(t, err, c.want)
			if wrote := w.types(before) != ""; wrote != (c.want == "") {
				t.Errorf("leaves %q", w.types(before))
			}
		})
	}
	w := newWorld(t)
	_, err := w.Lock(t.Context(), w.as(dave), alice, strings.Repeat("x", policy.MaxJustification+1))
	wantCode(t, err, access.CodeInvalid)
	_, err = w.Locks(t.Context(), w.as(bob))
	wantCode(t, err, access.CodeNotEligible)
}

func TestP2_NothingIsGrantedToWhoeverIsLocked(t *testing.T) {
	for _, c := range []struct {
		name, target string
		try          func(*world, access.Request) error // a request of the refunder's waits
	}{
		{"a workload asks", refunder, func(w *world, _ access.Request) error {
			_, err := w.Request(w.t.Context(), w.as(refunder), reports())
			return err
		}},
		{"a person asks, by the other account", "alice", func(w *world, _ access.Request) error {
			_, err := w.Request(w.t.Context(), w.as(aliceAdmin), refund())
			return err
		}},
		{"what policy grants at once", carol, func(w *world, _ access.Request) error {
			_, err := w.Request(w.t.Context(), w.as(carol), reports())
			return err
		}},
		{"an approver approves", "bob", func(w *world, r access.Request) error {
			_, err := w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
			return err
		}},
		{"an approver denies", "bob", func(w *world, r access.Request) error {
			_, err := w.Deny(w.t.Context(), w.as(bob), r.ID, "")
			return err
		}},
		{"logs in to the command", "alice", func(w *world, _ access.Request) error {
			_, _, err := w.NewSession(w.t.Context(), access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(w.t, aliceAdmin)})
			return err
		}},
		{"logs in to the console", "alice", func(w *world, _ access.Request) error {
			_, _, err := w.NewSession(w.t.Context(), access.Login{Kind: access.SessionConsole, Principal: principal(w.t, alice)})
			return err
		}},
		{"takes another's lock off", dave, func(w *world, _ access.Request) error {
			_, err := w.Unlock(w.t.Context(), w.as(dave), "carol")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.ask(w.as(refunder), refund(), access.Pending)
			if _, err := w.Lock(t.Context(), w.in(frank, "security"), c.target, ""); err != nil {
				t.Fatal(err)
			}
			before := len(w.leaves())
			err := c.try(w, r)
			wantCode(t, err, access.CodeLocked)
			if f := access.FaultOf(err); f.Info().HTTP != 403 || f.Info().Exit != 4 {
				t.Errorf("shown as %+v", f.Info())
			}
			if w.types(before) != "" {
				t.Errorf("leaves %q", w.types(before))
			}
		})
	}
}

// TestP2_AnApprovalMakesNoGrantForWhoeverIsLocked puts the lock there by itself,
// so that the request still waits.
func TestP2_AnApprovalMakesNoGrantForWhoeverIsLocked(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.ask(w.as(alice), refund(), access.Pending)
	err := w.store.Update(ctx, func(tx access.Tx) error {
		return tx.Locks().Insert(ctx, access.Lock{Target: "alice", Accounts: []identity.Principal{principal(t, aliceAdmin)}, By: principal(t, dave), At: tx.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err = w.Approve(ctx, w.as(bob), r.ID, r.OfferDigest, "")
	if err != nil || r.State != access.Denied || r.Code != string(access.CodeLocked) || !r.Grant.IsZero() {
		t.Fatalf("%s %s, %v", r.State, r.Code, err)
	}
}

func TestP6_NobodyUnlocksThemselves(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.mayUnlock()
	if _, err := w.Lock(ctx, w.in(frank, "security"), dave, ""); err != nil {
		t.Fatal(err)
	}
	_, err := w.Unlock(ctx, w.as(dave), dave)
	wantCode(t, err, access.CodeLocked)
	if list, err := w.Locks(ctx, w.in(frank, "security")); err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
}

func TestUnlockNeedsAGrant(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.lock("alice")
	_, err := w.Unlock(ctx, w.as(dave), "alice") // security may lock, not unlock
	wantCode(t, err, access.CodeNoGrant)
	if f := access.FaultOf(err); !strings.Contains(f.Sentence, policy.OwnPrincipalsUnlock) || f.Next != "mayfly request mayfly/operate" {
		t.Errorf("%q, %q", f.Sentence, f.Next)
	}
	held := w.mayUnlock()
	l, err := w.Unlock(ctx, w.as(dave), aliceAdmin)
	if err != nil || l.Target != "alice" {
		t.Fatalf("%+v, %v", l, err)
	}
	leaf := w.leafWords(audit.TypeAdministration)
	if leaf["operation"] != policy.OwnPrincipalsUnlock || leaf["under"] != held.Grant.String() || len(leaf["accounts"].([]any)) != 2 {
		t.Errorf("on record stands %v", leaf)
	}
	w.ask(w.as(alice), refund(), access.Pending)
	w.loggedIn(access.SessionAPI, aliceAdmin)
	_, err = w.Unlock(ctx, w.as(dave), "alice")
	wantCode(t, err, access.CodeNotFound)
}

// Who is locked is nothing that anybody who may not unlock can find out.
func TestUnlockTellsNobodyElseWhoIsLocked(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.lock("alice")
	_, locked := w.Unlock(ctx, w.as(erin), alice)
	_, free := w.Unlock(ctx, w.as(erin), carol)
	if access.CodeOf(locked) != access.CodeNoGrant || access.CodeOf(free) != access.CodeNoGrant || locked.Error() != free.Error() {
		t.Errorf("locked: %v; not locked: %v", locked, free)
	}
}

// TestALockMeetsAccountsThatComeLater: by a commit of policy, by the address of a
// login, and by one that the provider tells when it is asked again.
func TestALockMeetsAccountsThatComeLater(t *testing.T) {
	t.Run("by policy", func(t *testing.T) {
		w := newWorld(t)
		r := w.ask(w.in(erin, "engineers"), reports(), access.Approved)
		secret, _ := w.loggedIn(access.SessionAPI, erin)
		w.lock("bob")
		w.wantLive("before the commit", access.SessionAPI, secret, true)
		w.apply("mayfly.yaml", `["user:idp:bob"]`, `["user:idp:bob", "user:idp:erin"]`)
		w.wantLive("after it", access.SessionAPI, secret, false)
		w.grantIs(w.as(erin), r.Grant, grant.RevokedState, grant.Locked)
	})
	t.Run("by the address of a login", func(t *testing.T) {
		w := newWorld(t)
		w.login(bob, "bob@acme.example")
		w.lock("bob")
		l := access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, "user:idp:twin"), Email: "Bob@acme.example"}
		_, _, err := w.NewSession(t.Context(), l)
		wantCode(t, err, access.CodeLocked)
	})
	t.Run("by the address of a check", func(t *testing.T) {
		w := newWorld(t)
		w.login(bob, "bob@acme.example")
		w.lock("bob")
		secret, _ := w.loggedIn(access.SessionAPI, carol)
		w.provider.set(func(p *provider) {
			p.says = func(l access.Login) access.Login { l.Email = "bob@acme.example"; return l }
		})
		w.pass(recheckT)
		w.recheck()
		w.wantLive("", access.SessionAPI, secret, false)
		list, err := w.Locks(t.Context(), w.as(dave))
		if err != nil || len(list) != 1 || len(list[0].Accounts) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
	})
	t.Run("an account that left policy", func(t *testing.T) {
		w := newWorld(t)
		w.lock("alice")
		w.apply("mayfly.yaml", `"user:idp:alice", "user:idp:alice-admin"`, `"user:idp:alice"`)
		_, err := w.Request(t.Context(), w.as(aliceAdmin), refund())
		wantCode(t, err, access.CodeLocked)
	})
}

func TestErasingForgetsTheReasonOfALockAndNotTheLock(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.lock(carol)
	if err := w.store.Update(ctx, func(tx access.Tx) error { return tx.Persons().Erase(ctx, principal(t, carol)) }); err != nil {
		t.Fatal(err)
	}
	list, err := w.Locks(ctx, w.as(dave))
	if err != nil || len(list) != 1 || list[0].Reason != "" {
		t.Fatalf("%+v, %v", list, err)
	}
	_, err = w.Request(ctx, w.as(carol), reports())
	wantCode(t, err, access.CodeLocked)
}
