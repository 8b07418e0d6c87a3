package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestWhoSeesWhat(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	pending := w.ask(w.as(alice), refund(), access.Pending)
	done := w.granted() // by the refunder, approved by bob
	for _, c := range []struct {
		who                    string
		pending, granted, used access.Code // of the request, the other request, its grant
	}{
		{alice, "", access.CodeNotFound, access.CodeNotFound},
		{aliceAdmin, "", "", access.CodeNotFound}, // of the approving group
		{refunder, access.CodeNotFound, "", ""},
		{bob, "", "", access.CodeNotFound},
		{dave, "", "", ""},
		{erin, access.CodeNotFound, access.CodeNotFound, access.CodeNotFound},
	} {
		t.Run(c.who, func(t *testing.T) {
			_, err := w.ShowRequest(ctx, w.as(c.who), pending.ID)
			wantCode(t, err, c.pending)
			_, err = w.ShowRequest(ctx, w.as(c.who), done.ID)
			wantCode(t, err, c.granted)
			_, err = w.Explain(ctx, w.as(c.who), done.ID.String())
			wantCode(t, err, c.granted)
			traced := [2]access.Code{c.granted, c.used}
			if c.who == dave { // who may end access does not thereby read what was done with it
				traced = [2]access.Code{access.CodeNoGrant, access.CodeNoGrant}
			}
			_, err = w.Trace(ctx, w.as(c.who), done.ID.String())
			wantCode(t, err, traced[0])
			_, err = w.ShowGrant(ctx, w.as(c.who), done.Grant)
			wantCode(t, err, c.used)
			_, err = w.Trace(ctx, w.as(c.who), done.Grant.String())
			wantCode(t, err, traced[1])
			own, err := w.Requests(ctx, w.as(c.who), access.ListRequests{})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range own {
				if r.Requester.String() != c.who {
					t.Errorf("lists %s of %s", r.ID, r.Requester)
				}
			}
			_, err = w.Requests(ctx, w.as(c.who), access.ListRequests{Everyone: true})
			everything := access.CodeNotEligible
			if c.who == dave {
				everything = ""
			}
			wantCode(t, err, everything)
			_, err = w.Grants(ctx, w.as(c.who), access.ListGrants{Everyone: true})
			wantCode(t, err, everything)
		})
	}
	// What is not there and what may not be seen are answered in the same words.
	_, hidden := w.ShowGrant(ctx, w.as(erin), done.Grant)
	none := grant.NewMinter().NewGrantID(epoch)
	_, absent := w.ShowGrant(ctx, w.as(erin), none)
	if strings.ReplaceAll(hidden.Error(), done.Grant.String(), "ID") != strings.ReplaceAll(absent.Error(), none.String(), "ID") {
		t.Errorf("%q and %q", hidden, absent)
	}
	stale := w.as(dave)
	w.pass(16 * time.Minute)
	_, err := w.ShowGrant(ctx, stale, done.Grant)
	wantCode(t, err, access.CodeLoginAgain)
}

func TestWaiting(t *testing.T) {
	w := newWorld(t)
	first := w.ask(w.as(refunder), refund(), access.Pending)
	w.pass(time.Minute)
	second := w.ask(w.in(bob, "support"), refund(), access.Pending)
	long := reports()
	long.Duration = time.Hour
	third := w.ask(w.as(carol), long, access.Pending)
	for who, want := range map[string][]access.Request{bob: {first, third}, carol: {first, second}, erin: nil, refunder: nil} {
		got, err := w.Waiting(t.Context(), w.as(who))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d requests, %v; want %d", who, len(got), err, len(want))
		}
		for i := range got {
			if got[i].ID != want[i].ID || len(got[i].OfferBytes) == 0 {
				t.Errorf("%s: %s at %d", who, got[i].ID, i)
			}
		}
	}
	if _, err := w.Approve(t.Context(), w.as(bob), first.ID, first.OfferDigest, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Waiting(t.Context(), w.as(carol)); err != nil || len(got) != 1 {
		t.Fatalf("%d, %v", len(got), err)
	}
	w.pass(20 * time.Minute)
	if got, err := w.Waiting(t.Context(), w.as(carol)); err != nil || len(got) != 0 {
		t.Fatalf("what is too late to decide waits: %d, %v", len(got), err)
	}
}

func TestTraceIsTheWholeChainFromAnyID(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	other := w.granted()
	action, intent := s.intent(r)
	_, foreign := s.intent(other)
	if _, err := w.Source().Ingest(ctx, i, s.segment(intent, foreign, audit.Outcome{Action: intent.Action, Result: audit.ResultSent})); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(ctx, w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	v, err := w.ShowRequest(ctx, w.as(refunder), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	const chain = "request.created offer.made decision.made approval.given decision.made request.approved grant.created grant.revoked"
	for _, id := range []string{r.ID.String(), r.Offer.String(), v.Approvals[0].ID.String(), r.Grant.String(), action.String()} {
		x, err := w.Trace(ctx, w.as(refunder), id)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		var leaves, actions []string
		for _, rec := range x.Records {
			if rec.Place.Spool == "" {
				leaves = append(leaves, string(rec.Record.Type))
			} else {
				actions = append(actions, string(rec.Record.Type))
			}
		}
		if strings.Join(leaves, " ") != chain || strings.Join(actions, " ") != "action.intent action.outcome" {
			t.Errorf("%s: %v, %v", id, leaves, actions)
		}
		if x.Request == nil || x.Grant == nil || x.Request.ID != r.ID || x.Grant.ID != r.Grant || len(x.Shown) != 3 {
			t.Errorf("%s: request %v, grant %v, names %v", id, x.Request, x.Grant, x.Shown)
		}
	}
	// An approver sees what was approved, not what was done with it.
	x, err := w.Trace(ctx, w.as(bob), r.ID.String())
	if err != nil || x.Grant != nil {
		t.Fatalf("grant %v, %v", x.Grant, err)
	}
	for _, rec := range x.Records {
		if rec.Place.Spool != "" {
			t.Errorf("an approver sees %s", rec.Record.Type)
		}
	}
	for _, id := range []string{"", "nonsense", "act_", "grt_1", "req_1", "' OR 1=1", action.String() + "0"} {
		_, err := w.Trace(ctx, w.as(dave), id)
		wantCode(t, err, access.CodeNotFound)
	}
	_, err = w.Trace(ctx, w.as(alice), action.String())
	wantCode(t, err, access.CodeNotFound)
}

func TestFromDenialSuggestsTheSmallestEntitlement(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	i, s := w.join("1"), newSpool(t)
	id := s.minter.NewDenialID(epoch)
	denied := audit.Denied{Denial: id.String(), Code: "no_grant", Try: audit.Try{
		Action: s.minter.NewActionID(epoch).String(), Principal: refunder, App: "stripe", Operation: "refunds.create",
		Attributes: map[string]audit.Attr{"charge": {Value: "ch_7"}, "amount": {Value: "4200"}, "note": {HMAC: "00"}},
	}}
	unknown := denied
	unknown.Operation, unknown.Denial = "refunds.update", s.minter.NewDenialID(epoch).String()
	if _, err := w.Source().Ingest(ctx, i, s.segment(denied, unknown)); err != nil {
		t.Fatal(err)
	}
	got, err := w.FromDenial(ctx, w.as(refunder), id)
	if err != nil || got.Entitlement != "stripe/refunds" || got.Params["charge"] != "ch_7" || got.Params["amount_max"] != "4200" ||
		len(got.Params) != 2 || len(got.Missing) != 0 || got.Code != grant.NoGrant {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Reason = "as denied"
	w.ask(w.as(refunder), got.Ask, access.Pending)
	// Its record is for the one who was denied, and for whoever investigates.
	if x, err := w.Trace(ctx, w.as(refunder), id.String()); err != nil || len(x.Records) != 1 {
		t.Fatalf("%v, %v", x.Records, err)
	}
	_, err = w.Trace(ctx, w.as(dave), id.String())
	wantCode(t, err, access.CodeNoGrant)
	w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/investigate", Reason: "a refusal at night"}, access.Approved)
	if x, err := w.Trace(ctx, w.as(dave), id.String()); err != nil || len(x.Records) != 1 {
		t.Fatalf("%v, %v", x.Records, err)
	}
	_, err = w.Trace(ctx, w.as(alice), id.String())
	wantCode(t, err, access.CodeNotFound)
}

func TestFromDenialWaitsAndTellsNobodyElse(t *testing.T) {
	w := newWorld(t)
	s := newSpool(t)
	i := w.join("1")
	id := s.minter.NewDenialID(epoch)
	seg := s.segment(audit.Denied{Denial: id.String(), Code: "no_grant", Try: audit.Try{
		Action: s.minter.NewActionID(epoch).String(), Principal: refunder, App: "stripe", Operation: "charges.retrieve",
	}})
	arrived := make(chan error, 1)
	go func() {
		got, err := w.FromDenial(t.Context(), w.as(refunder), id)
		if err == nil && strings.Join(got.Missing, " ") != "amount_max charge" {
			t.Errorf("missing %v", got.Missing)
		}
		arrived <- err
	}()
	if _, err := w.Source().Ingest(t.Context(), i, seg); err != nil {
		t.Fatal(err)
	}
	if err := <-arrived; err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := w.FromDenial(t.Context(), w.as(alice), id)
	wantCode(t, err, access.CodeNotFound)
	if took := time.Since(began); took < denialWait {
		t.Fatalf("answered about another's denial after %s: sooner than about none", took)
	}
}

func TestSession(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	before := len(w.leaves())
	secret, s, err := w.NewSession(ctx, access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, alice), Name: "Alice", Email: "Alice@acme.example", AuthTime: epoch})
	if err != nil {
		t.Fatal(err)
	}
	if w.types(before) != "login" || strings.Contains(string(must(audit.Encode(w.leaves()[before]))), "Alice") {
		t.Fatalf("leaves %s", w.types(before))
	}
	if len(secret.Reveal()) != 43 || strings.Contains(secret.String()+secret.GoString(), secret.Reveal()) {
		t.Fatalf("secret %v", secret)
	}
	got, err := w.Session(ctx, access.SessionAPI, access.ParseSessionSecret(secret.Reveal()))
	if err != nil || got.ID != s.ID || access.CallerOf(got).Principal.String() != alice || got.EndsAt.Sub(got.CreatedAt) != access.MaxSession {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"", secret.Reveal() + "A", secret.Reveal()[1:]} {
		_, err := w.Session(ctx, access.SessionAPI, access.ParseSessionSecret(wrong))
		wantCode(t, err, access.CodeNoSession)
	}
	for _, door := range []access.SessionKind{access.SessionConsole, access.SessionApp, ""} {
		_, err := w.Session(ctx, door, secret)
		wantCode(t, err, access.CodeNoSession)
	}
	if err := w.EndSession(ctx, s.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.Session(ctx, access.SessionAPI, secret)
	wantCode(t, err, access.CodeNoSession)
	secret, _, err = w.NewSession(ctx, access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, alice)})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(8 * time.Hour)
	_, err = w.Session(ctx, access.SessionAPI, secret)
	wantCode(t, err, access.CodeNoSession)
	_, _, err = w.NewSession(ctx, access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: principal(t, refunder)})
	wantCode(t, err, access.CodeNotAPerson)
}

func TestLoginIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, key := range []string{"k", "late"} {
		if err := w.PutLogin(ctx, key, []byte("body"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := w.TakeLogin(ctx, "k"); err != nil || string(b) != "body" {
		t.Fatalf("%q, %v", b, err)
	}
	_, err := w.TakeLogin(ctx, "k")
	wantCode(t, err, access.CodeNoSession)
	w.pass(time.Minute)
	_, err = w.TakeLogin(ctx, "late")
	wantCode(t, err, access.CodeNoSession)
}

func TestEveryFaultHasItsRow(t *testing.T) {
	for _, c := range access.Codes() {
		i := c.Info()
		if i.Title == "" || i.HTTP < 400 || i.Exit < 1 || i.Exit > 5 {
			t.Errorf("%s: %+v", c, i)
		}
	}
	if access.Code("no such").Info() != access.CodeInternal.Info() || access.CodeOf(errDisk) != access.CodeInternal {
		t.Error("an unknown code is not internal")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMissingRecordsAreNamed(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	_, intent := s.intent(r)
	here, lost := s.segment(intent), s.segment(intent)
	if _, err := w.Source().Ingest(ctx, i, here); err != nil {
		t.Fatal(err)
	}
	ping := &feed.Ping{Nonce: "n", Spools: []*feed.SpoolHead{{Spool: s.id, Seq: 2}}}
	beat := func() {
		t.Helper()
		if _, err := w.Source().Beat(ctx, []feed.Beat{{Instance: i, Ping: ping}}); err != nil {
			t.Fatal(err)
		}
	}
	missing := func(want int) {
		t.Helper()
		n, err := w.Nodes(ctx, w.as(dave))
		if err != nil || len(n.Missing) != want {
			t.Fatalf("missing %+v, %v; want %d", n.Missing, err, want)
		}
		if want == 1 && (n.Missing[0].First != 2 || n.Missing[0].Last != 2 || n.Missing[0].Spool != s.id) {
			t.Fatalf("missing %+v", n.Missing[0])
		}
	}
	beat()
	missing(0) // on their way
	w.pass(31 * time.Second)
	beat()
	missing(1)
	if _, err := w.Source().Ingest(ctx, i, lost); err != nil {
		t.Fatal(err)
	}
	missing(0)
}
