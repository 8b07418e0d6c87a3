package access_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// mayInvestigate has dave, of the security group, ask for what lets him read.
func (w *world) mayInvestigate(params map[string]string) access.Request {
	w.t.Helper()
	return w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/investigate", Params: params, Reason: "a refund at night"}, access.Approved)
}

func TestReadingWhatOthersDidNeedsAGrantAndIsOnRecord(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.granted()
	_, err := w.Trace(ctx, w.as(dave), r.Grant.String())
	wantCode(t, err, access.CodeNoGrant)
	if f := access.FaultOf(err); f.Next != "mayfly request mayfly/investigate" {
		t.Errorf("next is %q", f.Next)
	}
	_, err = w.Trace(ctx, w.as(erin), r.Grant.String())
	wantCode(t, err, access.CodeNotFound) // who is not of the group does not even learn that it exists
	before := len(w.leaves())
	held := w.mayInvestigate(nil)
	x, err := w.Trace(ctx, w.as(dave), r.Grant.String())
	if err != nil || x.Grant == nil || x.Grant.ID != r.Grant {
		t.Fatalf("grant %v, %v", x.Grant, err)
	}
	leaves := w.leaves()[before:]
	last, err := leaves[len(leaves)-1].Map()
	if err != nil {
		t.Fatal(err)
	}
	if leaves[len(leaves)-1].Type != audit.TypeAdministration || last["operation"] != policy.OwnTracesRead || last["under"] != held.Grant.String() || last["about"] != r.Grant.String() {
		t.Errorf("on record stands %v", last)
	}
	// Its own trace shows that it was used.
	mine, err := w.Trace(ctx, w.as(dave), held.Grant.String())
	if err != nil || !slices.ContainsFunc(mine.Records, func(r access.Traced) bool { return r.Record.Type == audit.TypeAdministration }) {
		t.Errorf("the trace of the investigation does not tell what was read: %v", err)
	}
	w.pass(time.Hour)
	_, err = w.Trace(ctx, w.in(dave, "security"), r.Grant.String())
	wantCode(t, err, access.CodeNoGrant) // it has ended
}

func TestAnInvestigationOfOneAppReadsNoOther(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	w.mayInvestigate(map[string]string{"app": "reports"})
	_, err := w.Trace(t.Context(), w.as(dave), r.Grant.String())
	wantCode(t, err, access.CodeNoGrant)
}

func TestAGrantOfRevokingEndsWhatItCovers(t *testing.T) {
	w := newWorld(t)
	w.files["entitlements/mayfly/end.yaml"] = []byte(`entitlement: mayfly/end
owner: team-payments
app: mayfly
allow:
  - {operations: [grants.revoke], where: {app: {is: $app}}}
params:
  app: {type: string, required: true}
grant: {max: 1h}
request: {who: [bob, carol], for: [self], justification: none}
approve: {auto: {when: "true"}}
`)
	w.apply("")
	r := w.granted()
	ctx := t.Context()
	_, err := w.Revoke(ctx, w.as(carol), r.Grant, "")
	wantCode(t, err, access.CodeNotFound)
	w.ask(w.as(carol), access.Ask{Entitlement: "mayfly/end", Params: map[string]string{"app": "reports"}}, access.Approved)
	_, err = w.Revoke(ctx, w.as(carol), r.Grant, "")
	wantCode(t, err, access.CodeNotFound)
	w.ask(w.as(carol), access.Ask{Entitlement: "mayfly/end", Params: map[string]string{"app": "stripe"}}, access.Approved)
	if _, err := w.Revoke(ctx, w.as(carol), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	if g, err := w.ShowGrant(ctx, w.as(refunder), r.Grant); err != nil || g.State != grant.RevokedState {
		t.Fatalf("%v, %v", g.State, err)
	}
}

func TestP4_AGatewayInQuarantineGetsNoPong(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	i := w.join("1")
	w.beat(i)
	_, err := w.Quarantine(ctx, w.as(erin), gateway, "")
	if code := access.CodeOf(err); code != access.CodeNoGrant {
		t.Fatalf("anybody quarantines: %v", err)
	}
	_, err = w.Quarantine(ctx, w.as(erin), "spiffe://acme.example/gw/none", "")
	wantCode(t, err, access.CodeNoGrant) // and does not learn which gateways there are
	q, err := w.Quarantine(ctx, w.as(dave), gateway, "its machine is lost")
	if err != nil || q.Since.IsZero() {
		t.Fatal(q, err)
	}
	w.pass(time.Second)
	if again, err := w.Quarantine(ctx, w.as(dave), gateway, "again"); err != nil || again.Since != q.Since {
		t.Fatalf("quarantined again: %v, %v", again, err)
	}
	lease := func() time.Time {
		n, err := w.Nodes(ctx, w.as(dave))
		if err != nil || len(n.Instances) != 1 {
			t.Fatal(n.Instances, err)
		}
		return n.Instances[0].LastPong
	}
	held := lease()
	if pulse := w.beat(i); !pulse.Silent[i] || lease() != held {
		t.Fatalf("silent %v, and the lease went from %s to %s", pulse.Silent, held, lease())
	}
	if err := w.Release(ctx, w.as(dave), gateway, ""); access.CodeOf(err) != access.CodeNoGrant {
		t.Fatalf("released without a grant: %v", err)
	}
	r := w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/operate", Reason: "its machine was found"}, access.Pending)
	if _, err := w.Approve(ctx, w.in(carol, "security"), r.ID, r.OfferDigest, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Release(ctx, w.as(dave), gateway, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Release(ctx, w.as(dave), gateway, ""); access.CodeOf(err) != access.CodeNotFound {
		t.Fatalf("released twice: %v", err)
	}
	if pulse := w.beat(i); pulse.Silent[i] || lease() == held {
		t.Fatal("it is still told nothing")
	}
}

func TestAGatewayInQuarantineReservesNothing(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	action, intent := s.intent(w.granted())
	if _, err := w.Quarantine(t.Context(), w.as(dave), gateway, ""); err != nil {
		t.Fatal(err)
	}
	out, err := w.Source().Reserve(t.Context(), i, &feed.ReserveRequest{
		Action: action.String(), Grant: intent.Grant, Class: "money", Calls: 1, Spool: s.id, Seq: 1, FrameSha256: make([]byte, 32),
	})
	if err != nil || out.GetResult() != feed.ReserveResponse_ENDED || out.GetReason() != string(grant.Stale) {
		t.Fatalf("%v, %v", out, err)
	}
}

func TestP1_TheFirstAdministratorHasAnEndAndIsTheOnlyOne(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, life := range []time.Duration{0, -time.Hour, 25 * time.Hour} {
		if made, err := w.FirstAdministrator(ctx, principal(t, erin), life); made || access.CodeOf(err) != access.CodeInvalid {
			t.Errorf("for %s: %v, %v", life, made, err)
		}
	}
	if made, err := w.FirstAdministrator(ctx, principal(t, refunder), time.Hour); made || access.CodeOf(err) != access.CodeNotAPerson {
		t.Errorf("a workload: %v, %v", made, err)
	}
	before := len(w.leaves())
	if made, err := w.FirstAdministrator(ctx, principal(t, erin), time.Hour); !made || err != nil {
		t.Fatal(made, err)
	}
	if got := w.types(before); got != "grant.created administration" {
		t.Errorf("on record: %s", got)
	}
	for _, who := range []string{erin, bob} {
		if made, err := w.FirstAdministrator(ctx, principal(t, who), time.Hour); made || err != nil {
			t.Errorf("a second one, %s: %v, %v", who, made, err)
		}
	}
	if _, err := w.Quarantine(ctx, w.as(erin), gateway, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Release(ctx, w.as(erin), gateway, ""); err != nil {
		t.Fatal(err)
	}
	grants, err := w.Grants(ctx, w.as(erin), access.ListGrants{Live: true})
	if err != nil || len(grants) != 1 {
		t.Fatal(grants, err)
	}
	if x, err := w.Trace(ctx, w.as(erin), grants[0].ID.String()); err != nil || x.Grant == nil || x.Request != nil || len(x.Records) < 2 {
		t.Errorf("its trace: %v, %v", x.Records, err)
	}
	w.apply("mayfly.yaml", "grant: 12h", "grant: 11h") // a policy neither gave nor takes it
	if g, err := w.ShowGrant(ctx, w.as(erin), grants[0].ID); err != nil || g.State != grant.Active {
		t.Errorf("after a commit: %v, %v", g.State, err)
	}
	w.pass(time.Hour)
	if err := w.Release(ctx, w.as(erin), gateway, ""); !strings.Contains(err.Error(), "no_grant") {
		t.Errorf("after its end: %v", err)
	}
}

func TestNobodyLocksThemselves(t *testing.T) {
	w := newWorld(t)
	_, err := w.Lock(t.Context(), w.as(dave), dave, "by mistake")
	wantCode(t, err, access.CodeNotEligible)
	if locks, err := w.Locks(t.Context(), w.as(dave)); err != nil || len(locks) != 0 {
		t.Fatal(locks, err)
	}
}
