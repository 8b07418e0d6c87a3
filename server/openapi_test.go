package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/feed"
)

// openapi is the document, loaded and checked once.
var openapi = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.Document())
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(loader.Context)
})

func document(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi()
	check(t, err)
	return doc
}

// pathOf turns a pattern of the mux into method and path of the document.
func pathOf(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	if path == "/tile/" {
		path += "{path}"
	}
	return method, path
}

// navigations are where a person's browser goes on its own; they are no API.
func navigations() []string {
	return []string{"GET /login", "POST /login/confirm", "POST /logout", "GET /oidc/{idp}/callback"}
}

func TestDocumentHasEveryRoute(t *testing.T) {
	w := newWorld(t)
	var routes, documented []string
	for _, p := range w.patterns {
		if method, path := pathOf(p); !slices.Contains(navigations(), p) {
			routes = append(routes, method+" "+path)
		}
	}
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("routes\n%s\ndocumented\n%s", strings.Join(routes, "\n"), strings.Join(documented, "\n"))
	}
	cert := w.svid(refunder)
	for _, a := range []ask{{}, {cert: &cert}} {
		a.method, a.path = "GET", "/api/v1/openapi.json"
		if res := w.do(a); res.Code != 200 || !bytes.Equal(res.Body.Bytes(), api.Document()) {
			t.Errorf("the document is answered with %d", res.Code)
		}
	}
}

// types are those whose fields the schemas tell.
func types() map[string]any {
	return map[string]any{
		"Ask": api.Ask{}, "Request": api.Request{}, "Who": api.Who{}, "Policy": api.Policy{}, "Step": api.Step{}, "Approval": api.Approval{},
		"Offer": api.Offer{}, "JointGrant": api.JointGrant{}, "Member": api.Member{}, "Verdict": api.Verdict{}, "Signature": api.Signature{}, "Assertion": api.Assertion{}, "Because": api.Because{}, "Grant": api.Grant{}, "Receipts": api.Receipts{}, "Reach": api.Reach{},
		"Receipt": api.Receipt{}, "Node": api.Node{}, "Nodes": api.Nodes{}, "Trace": api.Trace{}, "Entry": api.Entry{},
		"Bundle": api.Bundle{}, "ObservedApp": api.ObservedApp{}, "ObserveReport": api.ObserveReport{}, "ObservedRow": api.ObservedRow{}, "PolicyFile": api.PolicyFile{}, "Workload": api.Workload{}, "WorkloadPage": api.Page[api.Workload]{},
		"PolicyFiles": api.PolicyFiles{}, "PolicyChange": api.PolicyChange{}, "PolicyReach": api.PolicyReach{}, "PolicyOverlap": api.PolicyOverlap{},
		"PolicyUnreached": api.PolicyUnreached{}, "PolicyDiff": api.PolicyDiff{}, "PolicyPlan": api.PolicyPlan{}, "PolicyWarning": api.PolicyWarning{}, "PolicyEnd": api.PolicyEnd{},
		"PolicyFlip": api.PolicyFlip{}, "PolicyReplay": api.PolicyReplay{}, "PolicyReplaySum": api.PolicyReplaySum{},
		"PolicyLog": api.PolicyLog{}, "PolicyVersion": api.PolicyVersion{}, "PolicyLine": api.PolicyLine{},
		"Explanation": api.Explanation{}, "Decision": api.Decision{}, "Rule": api.Rule{}, "Fact": api.Fact{}, "Check": api.Check{}, "Condition": api.Condition{},
		"DecisionStep": api.DecisionStep{}, "Remedy": api.Remedy{}, "Edit": api.Edit{}, "Tried": api.Tried{}, "Attribute": api.Attribute{}, "Near": api.Near{}, "Covering": api.Covering{}, "Suggestion": api.Suggestion{},
		"Entitlement": api.Entitlement{}, "Whoami": api.Whoami{}, "Problem": api.Problem{},
		"LogoutError": api.LogoutError{}, "RequestPage": api.Page[api.Request]{},
		"GrantPage": api.Page[api.Grant]{}, "EntitlementPage": api.Page[api.Entitlement]{},
		"NodeVerdict": api.NodeVerdict{}, "Lock": api.Lock{}, "LockVerdict": api.LockVerdict{}, "LockPage": api.Page[api.Lock]{},
		"PolicyStatus": api.PolicyStatus{}, "SettlingCommit": api.SettlingCommit{}, "PolicyHold": api.PolicyHold{}, "HoldVerdict": api.HoldVerdict{}, "RefusedCommit": api.RefusedCommit{}, "OverException": api.OverException{},
		"Key": api.Key{}, "KeyPage": api.Page[api.Key]{}, "KeyRotation": api.KeyRotation{}, "KeyRemoval": api.KeyRemoval{},
	}
}

func TestDocumentHasEveryField(t *testing.T) {
	schemas, known := document(t).Components.Schemas, types()
	for name, s := range schemas {
		if _, ok := known[name]; !ok && s.Value.Type.Is("object") {
			t.Errorf("schema %s is of no type of api", name)
		}
	}
	for name, v := range known {
		s := schemas[name]
		if s == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		var fields, required []string
		for f := range fieldsOf(reflect.TypeOf(v)) {
			field, optional := strings.CutSuffix(f, ",omitempty")
			fields = append(fields, field)
			if !optional {
				required = append(required, field)
			}
			kind, _ := reflect.TypeOf(v).FieldByNameFunc(func(n string) bool {
				f, _ := reflect.TypeOf(v).FieldByName(n)
				return strings.TrimSuffix(f.Tag.Get("json"), ",omitempty") == field
			})
			if p := s.Value.Properties[field]; p != nil && !p.Value.Type.Is(jsonType(kind.Type)) {
				t.Errorf("%s.%s is a %v in the document and %s in Go", name, field, p.Value.Type, kind.Type)
			}
		}
		slices.Sort(fields)
		slices.Sort(required)
		if got := slices.Sorted(maps.Keys(s.Value.Properties)); !slices.Equal(got, fields) {
			t.Errorf("%s has the properties %v in the document and the fields %v in Go", name, got, fields)
		}
		if got := slices.Sorted(slices.Values(s.Value.Required)); !slices.Equal(got, required) {
			t.Errorf("%s requires %v in the document and %v in Go", name, got, required)
		}
	}
}

// fieldsOf yields the JSON tags of a struct.
func fieldsOf(t reflect.Type) map[string]bool {
	out := map[string]bool{}
	for i := range t.NumField() {
		out[t.Field(i).Tag.Get("json")] = true
	}
	return out
}

func jsonType(t reflect.Type) string {
	if t == reflect.TypeFor[[]byte]() {
		return "string" // base64
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	default:
		return "object"
	}
}

// conforms holds an answer of any test to the document, and a body that was taken.
func conforms(t testing.TB, a ask, r *http.Request, res *httptest.ResponseRecorder) {
	t.Helper()
	if r.Pattern == "" || slices.Contains(navigations(), r.Pattern) {
		if res.Header().Get("Content-Type") == "application/problem+json" {
			var v any
			check(t, json.Unmarshal(res.Body.Bytes(), &v))
			if err := document(t).Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s %s: %v", a.method, a.path, err)
			}
		}
		return
	}
	method, path := pathOf(r.Pattern)
	item := document(t).Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Errorf("%s is not in the document", r.Pattern)
		return
	}
	params := map[string]string{}
	for _, name := range []string{"id", "idp", "path"} {
		params[name] = r.PathValue(name)
	}
	params["path"] = strings.TrimPrefix(r.URL.Path, "/tile/")
	sent := r.Clone(t.Context())
	sent.Body = io.NopCloser(strings.NewReader(a.body))
	in := &openapi3filter.RequestValidationInput{
		Request: sent, PathParams: params, Route: &routers.Route{Spec: document(t), Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if res.Code < 300 {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s was taken, and is not as documented: %v", a.method, a.path, err)
		}
	}
	body := io.NopCloser(bytes.NewReader(res.Body.Bytes()))
	if err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.Code, Header: res.Header(), Body: body, Options: in.Options,
	}); err != nil {
		t.Errorf("%s %s is answered otherwise than documented: %v\n%s", a.method, a.path, err, res.Body)
	}
}

// TestAnswersAreAsDocumented calls every operation that answers with JSON once;
// do holds the answers to the document.
func TestAnswersAreAsDocumented(t *testing.T) {
	w := newWorld(t)
	alice, bob, dave := w.session("alice", "support"), w.session("bob", "payments-leads"), w.session("dave", "security")
	instance := feed.Instance{Sidecar: "spiffe://acme.example/gw/sidecar", Run: strings.Repeat("a", 32)}
	get := func(path, session string) {
		read[any](t, w.do(ask{method: "GET", path: "/api/v1/" + path, session: session}), 200)
	}
	post := func(path, session, body string, status int) string {
		return read[struct{ ID string }](t, w.do(ask{method: "POST", path: "/api/v1/" + path, session: session, body: body}), status).ID
	}
	granted := func() string {
		made := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk}), 201)
		done := read[api.Request](t, w.do(ask{
			method: "POST", path: "/api/v1/requests/" + made.ID + "/approve", session: bob, body: `{"offer_sha256":"` + made.Offer.SHA256 + `"}`,
		}), 200)
		return done.Grant
	}
	get("nodes", dave)
	_, err := w.Source().Join(t.Context(), instance, &feed.Subscribe{Instance: instance.String(), Version: "test", Reader: 2})
	check(t, err)
	_, err = w.Source().Beat(t.Context(), []feed.Beat{{Instance: instance, Ping: &feed.Ping{Nonce: "n"}}})
	check(t, err)
	post("requests/"+post("requests", alice, goodAsk, 201)+"/withdraw", alice, `{}`, 200)
	denied := post("requests", alice, goodAsk, 201)
	post("requests/"+denied+"/deny", bob, `{"offer_sha256":"","reason":"no"}`, 200)
	refused := post("requests", bob, goodAsk, 201)                                                        // by policy
	post("requests", w.session("carol", "engineers"), `{"entitlement":"reports/read","reason":"x"}`, 201) // without parameters
	finished, revoked, live := granted(), granted(), granted()
	post("grants/"+finished+"/finish", alice, `{}`, 200)
	post("grants/"+revoked+"/revoke", dave, `{"reason":"x"}`, 200)
	for _, path := range []string{
		"requests", "requests?state=denied", "requests/" + denied, "grants?all=1", "grants/" + live, "grants/" + finished, "grants/" + live + "/reach",
		"grants/" + revoked + "/receipts", "trace/" + denied, "trace/" + live, "explain/" + denied, "entitlements", "whoami",
	} {
		get(path, alice)
	}
	post("requests", alice, goodAsk, 201)
	for _, path := range []string{"requests?waiting=1", "requests/" + refused, "explain/" + refused, "grants"} {
		get(path, bob)
	}
	for _, path := range []string{"nodes", "requests?everyone=1", "grants?everyone=1&all=1", "whoami"} {
		get(path, dave)
	}
	read[api.PolicyPlan](t, w.do(ask{method: "POST", path: "/api/v1/policy/plan", session: dave, body: planBody(t, w)}), 200)
	if res := w.do(ask{method: "POST", path: "/api/v1/policy/replay", session: dave, body: planBody(t, w)}); res.Code != 200 || !strings.Contains(res.Body.String(), `"sum":`) {
		t.Errorf("a replay is answered %d: %s", res.Code, res.Body)
	}
	get("policy/log?entitlement=stripe/refunds", dave)
	w.pass(3 * time.Hour)
	get("nodes", w.session("dave", "security"))
	get("grants/"+live, w.session("alice", "support"))
}

// planBody asks about the policy in force.
func planBody(t testing.TB, w *world) string {
	t.Helper()
	set, err := w.Policy(t.Context())
	check(t, err)
	files := map[string]string{}
	for name, body := range set.Files() {
		files[name] = string(body)
	}
	body, err := json.Marshal(api.PolicyFiles{Files: files, Since: "2026-01-01T00:00:00.000000Z"})
	check(t, err)
	return string(body)
}
