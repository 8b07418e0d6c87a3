package access_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/tokens"
)

const partnersReporter = "spiffe://partner.example/ns/data/sa/reporter"

func TestAWorkloadOfAnUnlistedTrustDomainIsNobody(t *testing.T) {
	w := newWorld(t)
	stranger := access.Caller{Principal: principal(t, partnersReporter)}
	before := len(w.leaves())
	_, err := w.Request(t.Context(), stranger, reports())
	wantCode(t, err, access.CodeNotEligible)
	_, err = w.Requests(t.Context(), stranger, access.ListRequests{})
	wantCode(t, err, access.CodeNotEligible)
	_, err = w.IssueToken(t.Context(), access.TokenAsk{
		Subject: stranger.Principal, Proof: access.ProofJWTSVID, ClientID: partnersReporter, Resource: "https://reports.acme.example",
		Until: w.clock().Add(time.Minute), Confirm: tokens.Confirmation{JKT: [32]byte{1}},
	})
	wantCode(t, err, access.CodeNotEligible)
	if got := len(w.leaves()); got != before {
		t.Errorf("nobody leaves %d records", got-before)
	}
}

func TestATrustDomainComesAndGoesWithPolicy(t *testing.T) {
	w := newWorld(t)
	partner := access.Caller{Principal: principal(t, partnersReporter)}
	listed := "trust_domains:\n  - {name: partner.example, environments: [prod]}"
	asks := []string{`"spiffe://acme.example/ns/data/sa/reporter"]`, `"spiffe://acme.example/ns/data/sa/reporter", "` + partnersReporter + `"]`}
	w.apply("mayfly.yaml", "trust_domains:", listed)
	w.apply("entitlements/reports/read.yaml", asks...)
	r := w.ask(partner, reports(), access.Approved)
	w.apply("entitlements/reports/read.yaml", asks[1], asks[0])
	out := w.apply("mayfly.yaml", listed, "trust_domains:")
	_, err := w.Request(t.Context(), partner, reports())
	wantCode(t, err, access.CodeNotEligible)
	list, err := w.Grants(t.Context(), w.as(dave), access.ListGrants{Everyone: true, Live: true})
	if err != nil || len(list) != 0 {
		t.Errorf("%s holds %+v, %v; %+v", r.ID, list, err, out)
	}
}

func TestAppsTellWhoCountsWhere(t *testing.T) {
	w := newWorld(t)
	places := func() []*feed.Place {
		t.Helper()
		snap, err := snapshotOf(t.Context(), w.Source(), []string{"reports"})
		if err != nil {
			t.Fatal(err)
		}
		return snap.Resources[0].GetApp().GetPlaces()
	}
	p := places()
	if len(p) != 1 || p[0].GetSidecar() != gateway || p[0].GetEnvironment() != "prod" || p[0].GetAnyTrustDomain() || len(p[0].GetTrustDomains()) != 1 || p[0].GetTrustDomains()[0] != "acme.example" {
		t.Errorf("places are %v", p)
	}
	w.apply("mayfly.yaml", "trust_domains:\n  - {name: acme.example, environments: [prod, staging]}\n", "")
	if p := places(); len(p) != 0 {
		t.Errorf("without a list: %v", p)
	}
}
