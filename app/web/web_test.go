package web_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/apptest"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func TestConformance(t *testing.T) { apptest.Run(t, newKind(t), "testdata") }

func TestNoMethodNeedsTheBody(t *testing.T) {
	for _, m := range []string{"GET", "POST", "PUT", "BREW", ""} {
		if newKind(t).Needs(m) != app.NeedsHeaders {
			t.Errorf("%s: the body of a web app streams", m)
		}
	}
}

// TestP2_AScopeUnderAPathCannotBeLeft tries every known way out of a path.
func TestP2_AScopeUnderAPathCannotBeLeft(t *testing.T) {
	kind := newKind(t)
	allowed := scope.Scope{App: "wiki", Rules: []scope.Rule{{Operation: "http.get", Where: []scope.Constraint{
		{Attribute: web.AttributePath, Comparison: scope.Under, Values: []scope.Value{scope.Path("/team")}},
	}}}}
	for path, want := range map[string]bool{
		"/team": true, "/team/": true, "/team/a?x=/admin": true, "/team/%C3%A9": true,
		"/teams": false, "/Team": false, "/": false, "/admin": false, "/team%2f..%2fadmin": false, "/team/../admin": false,
		"/team/%2e%2e/admin": false, "/team/..;/admin": false, "/team/..%5cadmin": false, "//team": false, "/team%00": false,
		"/team/%252e%252e/admin": false, "/team/./../admin": false, "/team//../admin": false, "/team\\..\\admin": false,
	} {
		op, err := kind.Classify(&app.Request{App: "wiki", Method: "GET", Authority: "wiki.acme.example", Path: path})
		if got := err == nil && allowed.Covers(op) == nil; got != want {
			t.Errorf("%s: allowed %v (%v), want %v", path, got, grant.ReasonOf(err), want)
		}
	}
}

func newKind(t *testing.T) *web.Kind {
	t.Helper()
	k, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
