package access_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// spool makes the segments of one sidecar's spool.
type spool struct {
	ahead  time.Duration // of its clock since epoch
	t      testing.TB
	id     string
	next   uint64
	head   audit.Hash
	minter *grant.Minter
}

func newSpool(t testing.TB) *spool {
	m := grant.NewMinter()
	return &spool{t: t, id: m.NewSpoolID(epoch).String(), next: 1, minter: m}
}

func (s *spool) segment(bodies ...any) *feed.IngestRequest {
	s.t.Helper()
	first, prev := s.next, s.head
	var frames []byte
	for _, body := range bodies {
		kind := audit.TypeActionIntent
		switch body.(type) {
		case audit.Denied:
			kind = audit.TypeActionDenied
		case audit.DeniedCount:
			kind = audit.TypeActionDeniedCount
		case audit.Outcome:
			kind = audit.TypeActionOutcome
		case audit.Rebound:
			kind = audit.TypeActionRebound
		case audit.Observed:
			kind = audit.TypeActionObserved
		}
		rec, err := audit.Encode(audit.Record{ID: s.minter.NewRecordID(epoch).String(), Type: kind, Time: epoch.Add(s.ahead), Node: gateway + "#1", Seq: s.next, Body: body})
		if err != nil {
			s.t.Fatal(err)
		}
		if frames, s.head, err = audit.AppendFrame(frames, s.head, rec); err != nil {
			s.t.Fatal(err)
		}
		s.next++
	}
	seg, err := audit.NewSegment(s.id, prev, first, frames)
	if err != nil {
		s.t.Fatal(err)
	}
	return &feed.IngestRequest{Spool: s.id, First: seg.First, Last: seg.Last, Frames: frames, Root: seg.Root[:], ChainHead: seg.ChainHead[:]}
}

func (s *spool) intent(r access.Request) (grant.ActionID, audit.Intent) {
	id := s.minter.NewActionID(epoch)
	return id, audit.Intent{Grant: r.Grant.String(), Try: audit.Try{Action: id.String(), App: "stripe", Operation: "refunds.create", Class: "money"}}
}

func TestJoinOnlyWhatPolicyLists(t *testing.T) {
	w := newWorld(t)
	before := len(w.leaves())
	apps, err := w.Source().Join(t.Context(), w.instance("1"), &feed.Subscribe{Version: "v"})
	if err != nil || strings.Join(apps, " ") != "stripe reports" || w.types(before) != "instance.started" {
		t.Fatalf("%v, %v, %s", apps, err, w.types(before))
	}
	if _, err := w.Source().Join(t.Context(), w.instance("1"), &feed.Subscribe{}); err != nil || w.types(before) != "instance.started" {
		t.Fatalf("joined again: %v, %s", err, w.types(before))
	}
	for _, sidecar := range []string{"spiffe://acme.example/gw/listener", "spiffe://acme.example/other", "user:idp:bob", ""} {
		_, err := w.Source().Join(t.Context(), feed.Instance{Sidecar: sidecar, Run: strings.Repeat("1", 32)}, &feed.Subscribe{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%q joined: %v", sidecar, err)
		}
	}
}

func TestSnapshotHoldsAppsAndLiveGrants(t *testing.T) {
	w := newWorld(t)
	live, revoked := w.granted(), w.granted()
	if _, err := w.Revoke(t.Context(), w.as(dave), revoked.Grant, ""); err != nil {
		t.Fatal(err)
	}
	w.ask(w.as(refunder), refund(), access.Pending)
	s, err := snapshotOf(t.Context(), w.Source(), []string{"stripe", "unknown"})
	if err != nil || s.At != w.head() || len(s.Resources) != 2 {
		t.Fatalf("%v, %v", s, err)
	}
	app, g := s.Resources[0].GetApp(), s.Resources[1].GetGrant()
	if app.GetName() != "stripe" || app.GetUpstream() != "https://api.stripe.com" || app.GetStaleAfterUs() != 15e6 ||
		len(app.GetCredentials()) != 2 || app.GetCredentials()[0].GetOperations()[0] != "charges.retrieve" {
		t.Errorf("app %v", app)
	}
	if len(app.GetAsks()) != 1 || app.GetAsks()[0].GetEntitlement() != "stripe/refunds" || len(app.GetAsks()[0].GetBindings()) != 3 {
		t.Errorf("asks %v", app.GetAsks())
	}
	if s.Resources[1].GetId() != live.Grant.String() || g.GetPrincipal() != refunder || !strings.HasPrefix(g.GetPseudonym(), "p_") ||
		g.GetClass() != "money" || g.GetParams()["charge"] != "ch_1" || len(g.GetRules()) != 2 || g.GetCatalogue() != app.GetCatalogue() {
		t.Errorf("grant %v", g)
	}
	w.pass(30 * time.Minute) // ended: instances know, and hold it until the record tells
	if s, err = snapshotOf(t.Context(), w.Source(), []string{"stripe"}); err != nil || len(s.Resources) != 2 {
		t.Fatalf("%v, %v", s, err)
	}
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err = snapshotOf(t.Context(), w.Source(), []string{"stripe"}); err != nil || len(s.Resources) != 1 {
		t.Fatalf("%v, %v", s, err)
	}
}

func TestChangesFollowTheRecord(t *testing.T) {
	w := newWorld(t)
	start := w.head()
	r := w.granted()
	at := w.head()
	changes, ok, err := w.Source().Changes(t.Context(), start, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || changes[0].At != at || changes[0].Resources[0].GetId() != r.Grant.String() {
		t.Fatalf("%v, %v, %v", changes, ok, err)
	}
	if at.Revision != int64(len(w.leaves())) {
		t.Fatalf("revision %d of %d leaves", at.Revision, len(w.leaves()))
	}
	// What instances do not hold moves the record and not the feed.
	w.login(alice, "")
	w.join("1")
	w.ask(w.as(refunder), refund(), access.Pending)
	if w.head() != at {
		t.Fatalf("head moved to %v", w.head())
	}
	// A policy that changes several apps has everybody read the whole again.
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [stripe]")
	changes, ok, err = w.Source().Changes(t.Context(), at, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || changes[0].App != "" {
		t.Fatalf("%v, %v, %v", changes, ok, err)
	}
	at = w.head()
	w.apply("apps/stripe.yaml", "stale_after: 15s", "stale_after: 10s")
	changes, ok, err = w.Source().Changes(t.Context(), at, feed.Newest())
	if err != nil || !ok || len(changes) != 1 || changes[0].App != "stripe" || changes[0].Resources[0].GetApp().GetStaleAfterUs() != 10e6 {
		t.Fatalf("%v, %v, %v", changes, ok, err)
	}
	at = w.head()
	w.files["apps/reports.yaml"] = []byte(strings.Replace(string(w.files["apps/reports.yaml"]), "stale_after: 1m", "stale_after: 2m", 1))
	w.apply("apps/stripe.yaml", "stale_after: 10s", "stale_after: 11s")
	if changes, _, err = w.Source().Changes(t.Context(), at, feed.Newest()); err != nil || len(changes) != 1 || changes[0].App != "" {
		t.Fatalf("two apps in one revision: %v, %v", changes, err)
	}
	err = w.store.Update(t.Context(), func(tx access.Tx) error { return tx.Changes().Prune(t.Context(), at) })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err = w.Source().Changes(t.Context(), start, feed.Newest()); err != nil || ok {
		t.Fatalf("pruned changes are there: %v, %v", ok, err)
	}
}

func TestBeatSignsWhatWasCommitted(t *testing.T) {
	w := newWorld(t)
	i := w.join("1")
	w.granted()
	w.pass(time.Second)
	p := w.beat(i)
	c, err := w.verifier.Open(p.Checkpoint)
	if err != nil || c.Size != int64(len(w.leaves())) || p.Head != w.head() || !p.Time.Equal(w.clock()) {
		t.Fatalf("%+v, %+v, %v", p, c, err)
	}
	w.mu.Lock()
	last := w.notes[len(w.notes)-1]
	w.mu.Unlock()
	if string(last) != string(p.Checkpoint) {
		t.Fatal("the checkpoint was not published")
	}
	n, err := w.Nodes(t.Context(), w.as(dave))
	if err != nil || len(n.Instances) != 1 || !n.Instances[0].LastPong.Equal(p.Time) || !n.Instances[0].Fresh || !n.Instances[0].Listed {
		t.Fatalf("%+v, %v", n, err)
	}
	if err := w.Source().Refused(t.Context(), feed.Refusal{Instance: i, Nack: &feed.Nack{Revision: 3, Kind: "grant", Id: "grt_1", Reason: "unsupported_grant", Detail: "field 9"}}); err != nil {
		t.Fatal(err)
	}
	if n, err = w.Nodes(t.Context(), w.as(dave)); err != nil || !strings.Contains(n.Instances[0].Nack, "field 9") {
		t.Fatalf("%+v, %v", n, err)
	}
	for _, who := range []string{alice, bob, refunder} {
		_, err := w.Nodes(t.Context(), w.as(who))
		wantCode(t, err, access.CodeNotEligible)
	}
}

func TestP5_IngestTakesEachRecordOnceAndNoOtherInItsPlace(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	before, head := len(w.leaves()), w.head()
	_, intent := s.intent(r)
	first := s.segment(intent, audit.Outcome{Action: intent.Action, Result: audit.ResultSent, Status: 200})
	_, second := s.intent(r)
	next, third := s.segment(second), s.segment(second)
	send := func(i feed.Instance, r *feed.IngestRequest, accepted bool, seq uint64) {
		t.Helper()
		out, err := w.Source().Ingest(t.Context(), i, r)
		if err != nil || out.GetAccepted() != accepted || out.GetNextSeq() != seq {
			t.Fatalf("%v, %v; want accepted %v, next %d", out, err, accepted, seq)
		}
	}
	refuse := func(i feed.Instance, r *feed.IngestRequest, want codes.Code) {
		t.Helper()
		if out, err := w.Source().Ingest(t.Context(), i, r); status.Code(err) != want {
			t.Fatalf("%v, %v; want %s", out, err, want)
		}
	}
	send(i, next, false, 1) // a gap
	send(i, first, true, 3)
	send(i, first, true, 3) // again
	send(i, third, false, 3)
	send(i, next, true, 4)
	if got := w.types(before); got != "segment.anchored segment.anchored" || w.head() != head {
		t.Fatalf("leaves %s, head %v", got, w.head())
	}
	forked := newSpool(t)
	forked.id, forked.next = s.id, 4
	refuse(i, forked.segment(intent), codes.InvalidArgument)
	older := newSpool(t) // an older copy of the folder, grown to the length that is known here
	older.id = s.id
	refuse(i, older.segment(intent, intent), codes.InvalidArgument)
	damaged := newSpool(t).segment(intent)
	damaged.Frames[20] ^= 1
	refuse(i, damaged, codes.InvalidArgument)
	lying := newSpool(t).segment(intent)
	lying.Root[0] ^= 1
	refuse(i, lying, codes.InvalidArgument)
	empty := newSpool(t).segment(intent)
	empty.Frames = nil
	refuse(i, empty, codes.InvalidArgument)
	w.apply("mayfly.yaml", "    environment: prod\n", "    environment: prod\n  - sidecar: spiffe://acme.example/gw2/sidecar\n    listener: spiffe://acme.example/gw2/listener\n    role: gateway\n    apps: [stripe]\n    environment: prod\n")
	other := feed.Instance{Sidecar: "spiffe://acme.example/gw2/sidecar", Run: strings.Repeat("2", 32)}
	refuse(other, third, codes.PermissionDenied)
	_, err := w.Source().Reserve(t.Context(), other, &feed.ReserveRequest{
		Action: s.minter.NewActionID(epoch).String(), Grant: r.Grant.String(), Class: "money", Spool: s.id, Seq: 4, FrameSha256: make([]byte, 32),
	})
	if status.Code(err) != codes.PermissionDenied {
		t.Fatalf("an intent in another sidecar's spool: %v", err)
	}
	refuse(feed.Instance{Sidecar: "spiffe://acme.example/nobody", Run: "1"}, newSpool(t).segment(intent), codes.PermissionDenied)
	w.view(func(ctx context.Context, tx access.Tx) error {
		places, err := tx.Spools().Find(ctx, intent.Action)
		if len(places) != 1 || places[0] != (access.Place{Spool: s.id, Seq: 1}) {
			t.Errorf("places %v: of a segment, the first", places)
		}
		return err
	})
}

func TestP5_ReserveAcknowledgesOnce(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	head, before := w.head(), len(w.leaves())
	reserve := func(i feed.Instance, action grant.ActionID, id grant.GrantID) (*feed.ReserveResponse, error) {
		return w.Source().Reserve(t.Context(), i, &feed.ReserveRequest{
			Action: action.String(), Grant: id.String(), Class: "money", Calls: 1, Amount: "42.00 usd", Spool: s.id, Seq: 1, FrameSha256: make([]byte, 32),
		})
	}
	want := func(out *feed.ReserveResponse, err error, result feed.ReserveResponse_Result, reason grant.Reason) {
		t.Helper()
		if err != nil || out.GetResult() != result || out.GetReason() != string(reason) {
			t.Fatalf("%v, %v; want %v %s", out, err, result, reason)
		}
	}
	one, two, three := s.minter.NewActionID(epoch), s.minter.NewActionID(epoch), s.minter.NewActionID(epoch)
	out, err := reserve(i, one, r.Grant)
	want(out, err, feed.ReserveResponse_OK, "")
	out, err = reserve(i, one, r.Grant)
	want(out, err, feed.ReserveResponse_OK, "")
	if got := w.types(before); got != "action.reserved" || w.head() != head {
		t.Fatalf("leaves %s, head %v", got, w.head())
	}
	var body audit.Reserved
	if err := w.leaves()[before].Into(&body); err != nil || body.Amount != "4200" || body.Currency != "usd" {
		t.Fatalf("%+v, %v", body, err)
	}
	if _, err := reserve(w.instance("2"), one, r.Grant); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("another instance's action: %v", err)
	}
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	before = len(w.leaves())
	out, err = reserve(i, two, r.Grant)
	want(out, err, feed.ReserveResponse_ENDED, grant.Revoked)
	out, err = reserve(i, one, r.Grant) // as it was answered
	want(out, err, feed.ReserveResponse_OK, "")
	out, err = reserve(i, three, s.minter.NewGrantID(epoch))
	want(out, err, feed.ReserveResponse_ENDED, grant.NoGrant)
	if got := w.types(before); got != "" {
		t.Fatalf("leaves %s", got)
	}
	r = w.granted()
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [reports]")
	out, err = reserve(i, s.minter.NewActionID(epoch), r.Grant)
	want(out, err, feed.ReserveResponse_ENDED, grant.NoGrant)
}

// A database that follows another one may not have what a Pong promised: that is an
// error, never nothing.
func TestP4_ChangesThatAreNotThereYetAreAnError(t *testing.T) {
	w := newWorld(t)
	w.granted()
	at := w.head()
	if _, ok, err := w.Source().Changes(t.Context(), feed.Position{Epoch: at.Epoch}, at); err != nil || !ok {
		t.Fatal(ok, err)
	}
	ahead := feed.Position{Epoch: at.Epoch, Revision: at.Revision + 1}
	if changes, _, err := w.Source().Changes(t.Context(), at, ahead); err == nil {
		t.Fatalf("up to %d, where the state is of %d, there is %v", ahead.Revision, at.Revision, changes)
	}
	if _, ok, err := w.Source().Changes(t.Context(), at, feed.Newest()); err != nil || !ok {
		t.Fatal(ok, err)
	}
}
