package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

// called has workloads call: one whose owner is known, one that policy knows nothing
// of, and one that only asks mayflyd.
func (s *stage) called() {
	s.t.Helper()
	for _, name := range []string{"reporter", "shop"} {
		if a, _ := s.as(s.t, name, s.gw).send(s.t, http.MethodGet, reportsURL("/daily"), nil); a.reason() != "no_grant" {
			s.t.Fatalf("%s: %d %s", name, a.status, a.text)
		}
	}
	if _, err := s.refunder.Whoami(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.Shipped(s.t)
}

// seen waits until mayfly workloads tells of one as it should.
func (p *product) seen(t *testing.T, what string, q api.WorkloadsQuery, ok func(api.Workload) bool) {
	t.Helper()
	eventually(t, what, func() error {
		page, err := p.bob.Workloads(t.Context(), q)
		if err != nil {
			return err
		}
		for _, w := range page.Items {
			if ok(w) {
				return nil
			}
		}
		return fmt.Errorf("%+v", page.Items)
	})
}

// An unknown caller shows by its first request, denied as it is, and so does a
// certificate that proved nobody.
func TestAnUnknownCallerShowsByItsFirstRequest(t *testing.T) {
	p := theProduct(t)
	id, err := p.CA.ID("/ns/tmp/sa/first-request")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.CA.Mint(dev.Template{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if a := p.showing(t, cert).get(t, reportsURL("/daily")); a.reason() != "no_grant" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	p.seen(t, "the unknown caller", api.WorkloadsQuery{Unknown: true}, func(w api.Workload) bool {
		return w.Workload == id.String() && w.Owner == "" && w.Listed && w.Denied == 1 && w.Allowed == 0 && w.Code == "no_grant" && w.App == "reports" && w.Environment == "prod"
	})

	p.mayRead(t, "/daily", time.Minute)
	reporter := p.as(t, "reporter", p.gw)
	passes(t, "the reporter reads", func() answer { return reporter.get(t, reportsURL("/daily/1")) })
	p.seen(t, "the reporter", api.WorkloadsQuery{}, func(w api.Workload) bool {
		return w.Workload == env.ReporterID && w.Owner == "team-data" && w.Allowed > 0 && w.Code == "" && w.Operation == "http.get" && w.Grants > 0 && w.Asked > 0
	})

	bad, err := p.CA.Mint(dev.Template{URIs: []string{id.String(), "spiffe://acme.example/other"}})
	if err != nil {
		t.Fatal(err)
	}
	if a := p.showing(t, bad).get(t, reportsURL("/daily")); a.reason() != "bad_certificate" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	p.seen(t, "a certificate that proved nobody", api.WorkloadsQuery{}, func(w api.Workload) bool { return w.Workload == "" && w.Denied > 0 })
	if _, err := p.reporter.Workloads(t.Context(), api.WorkloadsQuery{}); err == nil {
		t.Error("a workload reads the list")
	}
}
