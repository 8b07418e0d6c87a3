package apptest

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// Run holds kind to the seam (app.Kind) and to the cases in dir.
func Run(t *testing.T, kind app.Kind, dir string) {
	t.Helper()
	cases, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { Check(t, kind, c) })
	}
	t.Run("every reason is refused in the provider's shape", func(t *testing.T) { checkRefusals(t, kind) })
	t.Run("what is no request is refused", func(t *testing.T) { checkNonsense(t, kind) })
	if c, ok := kind.(app.Credentialed); ok {
		t.Run("TestP7 the caller's credentials are replaced", func(t *testing.T) { checkAuthorize(t, c) })
	}
}

// Check holds kind to one case, and to what every answer of Classify must be.
func Check(t *testing.T, kind app.Kind, c Case) {
	t.Helper()
	r := c.Request
	if kind.Needs(r.Method) == app.NeedsHeaders {
		r.Body = nil
	}
	op, err := classifyTwice(t, kind, r)
	if c.Reason != "" {
		checkDenied(t, c, op, err)
		return
	}
	if err != nil {
		t.Fatalf("refused: %v; want %s", err, c.Operation.Name)
	}
	if op.App != c.Operation.App || op.Name != c.Operation.Name || op.Resource != c.Operation.Resource || op.Class != c.Operation.Class {
		t.Errorf("got %s of class %s, want %s of class %s", op, op.Class, c.Operation, c.Operation.Class)
	}
	if !maps.Equal(op.Attributes, c.Operation.Attributes) {
		t.Errorf("attributes are %v, want %v", op.Attributes, c.Operation.Attributes)
	}
	CheckDeclared(t, kind.Catalogue(), op)
}

// CheckDeclared holds op to its declaration: in the catalogue, of its class, no
// attribute that is not declared or of another type, no required one missing.
func CheckDeclared(t *testing.T, catalogue *scope.Catalogue, op scope.Operation) {
	t.Helper()
	spec, ok := catalogue.Lookup(op.Name)
	if !ok || spec.Class != op.Class {
		t.Fatalf("%s of class %s is not in the catalogue", op.Name, op.Class)
	}
	for name, v := range op.Attributes {
		if a, ok := spec.Attribute(name); !ok || a.Type != v.Type() {
			t.Errorf("attribute %s of type %s is not declared for %s", name, v.Type(), op.Name)
		}
	}
	for _, a := range spec.Attributes {
		if a.Required && op.Attributes[a.Name].IsZero() {
			t.Errorf("required attribute %s of %s is missing", a.Name, op.Name)
		}
	}
}

func classifyTwice(t *testing.T, kind app.Kind, r app.Request) (scope.Operation, error) {
	t.Helper()
	before := r
	before.Header, before.Body = r.Header.Clone(), bytes.Clone(r.Body)
	op, err := kind.Classify(&r)
	if !reflect.DeepEqual(before, r) {
		t.Error("Classify changed the request")
	}
	again, errAgain := kind.Classify(&r)
	if !reflect.DeepEqual(op, again) || grant.ReasonOf(err) != grant.ReasonOf(errAgain) {
		t.Errorf("Classify gave %v, %v and then %v, %v", op, err, again, errAgain)
	}
	return op, err
}

func checkDenied(t *testing.T, c Case, op scope.Operation, err error) {
	t.Helper()
	var d *grant.Denial
	if !errors.As(err, &d) || d.Reason != c.Reason || !strings.Contains(d.Sentence, c.Sentence) {
		t.Fatalf("got %v, %v; want %s: …%s…", op, err, c.Reason, c.Sentence)
	}
	if op.Name != "" {
		t.Errorf("a refused request has the operation %s", op.Name)
	}
}

func checkRefusals(t *testing.T, kind app.Kind) {
	id := grant.NewMinter().NewDenialID(time.Unix(1, 0))
	for _, reason := range grant.Reasons() {
		d := grant.Deny(reason, "a sentence with %q", "quotes").Because(errors.New("private cause"))
		d.ID, d.Next, d.Entitlement = id, "mayfly request app/thing", "app/thing"
		r := kind.Refuse(d)
		if r.Status != d.Info().HTTP {
			t.Errorf("%s: status %d, want %d", reason, r.Status, d.Info().HTTP)
		}
		if r.Header.Get("Mayfly-Reason") != string(reason) || r.Header.Get("Mayfly-Denial") != id.String() || r.Header.Get("Content-Type") == "" {
			t.Errorf("%s: headers %v", reason, r.Header)
		}
		for _, want := range []string{string(reason), id.String(), "mayfly request app/thing", "app/thing"} {
			if !bytes.Contains(r.Body, []byte(want)) {
				t.Errorf("%s: the body does not say %q: %s", reason, want, r.Body)
			}
		}
		if bytes.Contains(r.Body, []byte("private")) {
			t.Errorf("%s: the body shows the private cause: %s", reason, r.Body)
		}
	}
}

func checkNonsense(t *testing.T, kind app.Kind) {
	for _, r := range []app.Request{
		{}, {Method: "GET"}, {Method: "GET", Path: "*"}, {Path: "/"}, {Method: "CONNECT", Authority: "a:443"},
		{Method: "TRACE", Path: "/"}, {Method: "get", Path: "/"}, {Method: "GET", Path: "//"}, {Method: "PRI", Path: "*"},
	} {
		op, err := kind.Classify(&r)
		if err == nil || op.Name != "" || grant.ReasonOf(err) == grant.Internal {
			t.Errorf("%q %q: %v, %v; want a refusal", r.Method, r.Path, op, err)
		}
	}
}

func checkAuthorize(t *testing.T, kind app.Credentialed) {
	r, err := http.NewRequest(http.MethodGet, "http://caller:password@app.example/v1/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key"} {
		r.Header[name] = []string{"of-the-caller", "of-the-caller"}
	}
	kind.Authorize(r, []byte("the-secret"))
	var raw bytes.Buffer
	if err := r.Write(&raw); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(raw.String(), "of-the-caller") || r.URL.User != nil || strings.Count(raw.String(), "the-secret") != 1 {
		t.Errorf("what leaves is %q", raw.String())
	}
}
