package access_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

const lurker = "spiffe://acme.example/ns/web/sa/lurker" // of which policy knows nothing

// seenBy lists what the security group sees, by the last part of the name.
func seenBy(t *testing.T, w *world, l access.ListWorkloads) map[string]access.WorkloadView {
	t.Helper()
	list, err := w.Workloads(t.Context(), w.as(dave), l)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]access.WorkloadView{}
	for _, v := range list {
		out[v.Principal.String()] = v
	}
	return out
}

func (w *world) ship(s *spool, bodies ...any) {
	w.t.Helper()
	if r, err := w.Source().Ingest(w.t.Context(), w.instance("1"), s.segment(bodies...)); err != nil || !r.GetAccepted() {
		w.t.Fatal(r, err)
	}
}

// An unknown caller stands in the list as soon as the record of its first request
// is here, and so does everybody else who called.
func TestWorkloadsAreSeenByTheirFirstRecord(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	r := w.granted()
	g, err := w.ShowGrant(t.Context(), w.as(refunder), r.Grant)
	if err != nil {
		t.Fatal(err)
	}
	s := newSpool(t)
	_, intent := s.intent(r)
	intent.Principal = g.Pseudonym
	denied := func(who, code string) audit.Denied {
		return audit.Denied{Denial: s.minter.NewDenialID(epoch).String(), Code: code, Try: audit.Try{Action: s.minter.NewActionID(epoch).String(), Principal: who, App: "reports", Operation: "http.get"}}
	}
	count := func(peer, code string, n uint64) audit.DeniedCount {
		return audit.DeniedCount{Code: code, Peer: peer, Count: n, From: audit.At(epoch), To: audit.At(epoch)}
	}
	w.ship(s, intent, denied(lurker, "no_grant"), count(lurker, "no_grant", 40), count("", "bad_certificate", 3), count("", "no_identity", 9), denied("p_nobody", "no_grant"))

	all := seenBy(t, w, access.ListWorkloads{})
	if len(all) != 3 {
		t.Errorf("seen: %+v", all)
	}
	if v := all[refunder]; v.Owner != "team-payments" || !v.Known || v.Allowed != 1 || v.Denied != 0 || v.Code != "" || v.App != "stripe" || v.Operation != "refunds.create" || v.Environment != "prod" || v.Grants != 1 || v.Called.IsZero() {
		t.Errorf("the refunder: %+v", v)
	}
	if v := all[lurker]; v.Owner != "" || !v.Known || v.Allowed != 0 || v.Denied != 41 || v.Code != "no_grant" || v.Grants != 0 {
		t.Errorf("the unknown one: %+v", v)
	}
	if v := all[""]; v.Denied != 3 || v.Code != string(grant.BadCertificate) {
		t.Errorf("certificates that proved nobody: %+v", v)
	}
	unknown := seenBy(t, w, access.ListWorkloads{Unknown: true})
	if _, ok := unknown[refunder]; ok || len(unknown) != 2 {
		t.Errorf("unknown: %+v", unknown)
	}
	// the next record adds, and one from a clock that is ahead tells nothing of the future
	s.ahead = time.Hour
	w.ship(s, denied(refunder, "scope"))
	if v := seenBy(t, w, access.ListWorkloads{})[refunder]; v.Denied != 1 || v.Code != "scope" || v.Last.After(w.clock()) {
		t.Errorf("after one more: %+v, it is %s", v, w.clock())
	}
	page, err := w.Workloads(t.Context(), w.as(dave), access.ListWorkloads{After: refunder, Limit: 1})
	if err != nil || len(page) != 1 || page[0].Principal.String() != lurker {
		t.Errorf("the page after: %+v, %v", page, err)
	}
}

func TestWorkloadsAreForTheSecurityGroup(t *testing.T) {
	w := newWorld(t)
	for _, who := range []string{alice, refunder} {
		_, err := w.Workloads(t.Context(), w.as(who), access.ListWorkloads{})
		wantCode(t, err, access.CodeNotEligible)
	}
	_, err := w.Workloads(t.Context(), access.Caller{}, access.ListWorkloads{})
	wantCode(t, err, access.CodeNoSession)
}

func TestCallsOfTheAPIAreSeen(t *testing.T) {
	w := newWorld(t)
	w.SawWorkload(t.Context(), principal(t, lurker))
	w.SawWorkload(t.Context(), principal(t, lurker)) // within ten seconds
	w.SawWorkload(t.Context(), principal(t, "user:idp:alice"))
	all := seenBy(t, w, access.ListWorkloads{})
	if v := all[lurker]; len(all) != 1 || v.Asked != 1 || !v.Called.IsZero() || v.First.IsZero() {
		t.Errorf("seen: %+v", all)
	}
}
