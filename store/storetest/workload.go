package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

func testWorkloads(t *testing.T, store access.Store) {
	name := func(text string) identity.Principal {
		p, err := identity.ParsePrincipal(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	seen := func(u access.WorkloadUse) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Workloads().Seen(ctx, u) })
	}
	list := func(after string, limit int) []access.WorkloadUse {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.WorkloadUse, error) {
			return tx.Workloads().List(ctx, after, limit)
		})
	}
	at := func(s int) time.Time { return epoch().Add(time.Duration(s) * time.Second) }
	a, b := name("spiffe://acme.example/a"), name("spiffe://acme.example/b")
	seen(access.WorkloadUse{Principal: b, First: at(1), Last: at(1), Asked: 1})
	seen(access.WorkloadUse{Principal: a, First: at(2), Last: at(4), Called: at(4), Environment: "prod", App: "wiki", Operation: "http.get", Allowed: 3})
	seen(access.WorkloadUse{First: at(3), Last: at(3), Called: at(3), Environment: "prod", Code: "bad_certificate", Denied: 2})
	nobody := access.WorkloadUse{First: at(3), Last: at(3), Called: at(3), Environment: "prod", Code: "bad_certificate", Denied: 2}
	same(t, "workloads", list("", 10), []access.WorkloadUse{
		nobody, {Principal: a, First: at(2), Last: at(4), Called: at(4), Environment: "prod", App: "wiki", Operation: "http.get", Allowed: 3}, {Principal: b, First: at(1), Last: at(1), Asked: 1},
	})
	// an older call, a later one, and one of the API, which says nothing of gateways
	seen(access.WorkloadUse{Principal: a, First: at(1), Last: at(3), Called: at(3), Environment: "staging", App: "old", Allowed: 1})
	seen(access.WorkloadUse{Principal: a, First: at(6), Last: at(6), Called: at(6), Environment: "staging", App: "stripe", Operation: "refunds.create", Code: "no_grant", Denied: 1})
	seen(access.WorkloadUse{Principal: a, First: at(9), Last: at(9), Asked: 1})
	seen(access.WorkloadUse{Principal: a, First: at(7), Last: at(7), Called: at(7), Environment: "staging", App: "late", Allowed: 1})
	// the first call at a gateway counts, although the API was called later
	seen(access.WorkloadUse{Principal: b, First: at(0), Last: at(0), Called: at(0), Environment: "prod", App: "wiki", Allowed: 1})
	wantA := access.WorkloadUse{Principal: a, First: at(1), Last: at(9), Called: at(7), Environment: "staging", App: "late", Allowed: 5, Denied: 1, Asked: 1}
	wantB := access.WorkloadUse{Principal: b, First: at(0), Last: at(1), Called: at(0), Environment: "prod", App: "wiki", Allowed: 1, Asked: 1}
	same(t, "after more calls", list("", 10), []access.WorkloadUse{nobody, wantA, wantB})
	same(t, "the first page", list("", 2), []access.WorkloadUse{nobody, wantA})
	same(t, "the page after it", list(a.String(), 2), []access.WorkloadUse{wantB})
}
