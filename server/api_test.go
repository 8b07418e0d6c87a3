package server_test

import (
	"archive/tar"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func TestHostileBodies(t *testing.T) {
	w := newWorld(t)
	alice := w.session("alice", "support")
	for name, c := range map[string]struct {
		ask    ask
		status int
		code   string
		says   string
	}{
		"unknown field":       {ask{body: `{"entitlement":"stripe/refunds","for":"bob"}`}, 400, "bad_json", `unknown field "for"`},
		"field twice":         {ask{body: `{"entitlement":"a","entitlement":"stripe/refunds"}`}, 400, "bad_json", "twice"},
		"field in two cases":  {ask{body: `{"entitlement":"a","Entitlement":"stripe/refunds"}`}, 400, "bad_json", "twice"},
		"parameter twice":     {ask{body: `{"entitlement":"a","params":{"charge":"ch_1","charge":"ch_2"}}`}, 400, "bad_json", "twice"},
		"another type":        {ask{body: `{"entitlement":["stripe/refunds"]}`}, 400, "bad_json", "entitlement must be string"},
		"a list":              {ask{body: `[]`}, 400, "bad_json", "one object"},
		"two objects":         {ask{body: `{}{}`}, 400, "bad_json", "follows"},
		"cut":                 {ask{body: `{"entitlement":`}, 400, "bad_json", ""},
		"deep":                {ask{body: `{"params":` + strings.Repeat(`{"a":`, 1000) + `1` + strings.Repeat("}", 1000) + `}`}, 400, "bad_json", "deep"},
		"not UTF-8":           {ask{body: "{\"entitlement\":\"\xff\"}"}, 400, "bad_json", "UTF-8"},
		"too large":           {ask{body: `{"reason":"` + strings.Repeat("a", 64<<10) + `"}`}, 413, "too_large", "64 KiB"},
		"a form":              {ask{body: goodAsk, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}, 415, "content_type", ""},
		"text, as forms send": {ask{body: goodAsk, header: http.Header{"Content-Type": {"text/plain"}}}, 415, "content_type", ""},
		"compressed":          {ask{body: goodAsk, header: http.Header{"Content-Encoding": {"gzip"}}}, 415, "content_type", ""},
		"another charset":     {ask{body: goodAsk, header: http.Header{"Content-Type": {"application/json; charset=utf-7"}}}, 415, "content_type", ""},
		"two keys":            {ask{body: goodAsk, header: http.Header{"Idempotency-Key": {"a", "b"}}}, 400, "bad_query", "one"},
		"a key with blanks":   {ask{body: goodAsk, header: http.Header{"Idempotency-Key": {"a b"}}}, 400, "bad_query", ""},
		"no entitlement":      {ask{body: `{}`}, 422, "invalid", "name the entitlement"},
		"bad duration":        {ask{body: `{"entitlement":"stripe/refunds","duration":"soon"}`}, 422, "invalid", `"soon" is not a duration`},
		"negative duration":   {ask{body: `{"entitlement":"stripe/refunds","duration":"-5m"}`}, 422, "invalid", ""},
		"parts of a second":   {ask{body: `{"entitlement":"stripe/refunds","duration":"1.5s"}`}, 422, "invalid", ""},
		"bad denial":          {ask{body: `{"denial":"den_1"}`}, 422, "invalid", "den_"},
		"unknown entitlement": {ask{body: `{"entitlement":"stripe/refund"}`}, 422, "invalid", "stripe/refunds"},
	} {
		c.ask.method, c.ask.path, c.ask.session = "POST", "/api/v1/requests", alice
		p := problem(t, w.do(c.ask))
		if p.Status != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s: %d %s %q", name, p.Status, p.Code, p.Detail)
		}
	}
	if list := read[api.Page[api.Request]](t, w.do(ask{method: "GET", path: "/api/v1/requests", session: alice}), 200); len(list.Items) != 0 {
		t.Errorf("%d requests were made of that", len(list.Items))
	}
}

func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	alice := w.session("alice", "support")
	cert := w.svid(refunder)
	bearer := func(s ...string) http.Header { return http.Header{"Authorization": s} }
	for name, c := range map[string]struct {
		ask    ask
		status int
		code   string
	}{
		"nobody":                    {ask{}, 401, "no_session"},
		"a session of nobody's":     {ask{session: "guess"}, 401, "no_session"},
		"a long one":                {ask{session: strings.Repeat("a", 4096)}, 401, "no_session"},
		"two at once":               {ask{header: bearer("DPoP "+alice, "DPoP "+alice)}, 401, "no_session"},
		"another scheme":            {ask{header: bearer("Basic " + alice)}, 401, "no_session"},
		"a cookie":                  {ask{header: http.Header{"Cookie": {"session=" + alice}}}, 401, "no_session"},
		"a session in the query":    {ask{path: "/api/v1/whoami?access_token=" + alice}, 401, "no_session"},
		"no certificate":            {ask{cert: &tls.Certificate{}}, 401, "no_identity"},
		"a session with a workload": {ask{cert: &cert, session: alice}, 400, "wrong_proof"},
	} {
		c.ask.method = "GET"
		if c.ask.path == "" {
			c.ask.path = "/api/v1/whoami"
		}
		want(t, name, w.do(c.ask), c.status, c.code)
	}
	bad, err := w.ca.Bad(devtest.ID(t, refunder))
	check(t, err)
	for _, b := range bad {
		if b.Cert.Leaf == nil {
			continue // crypto/tls cannot read it: it comes as far as no handler
		}
		want(t, b.Name, w.do(ask{method: "GET", path: "/api/v1/whoami", cert: &b.Cert}), 401, "no_identity")
	}
	who := read[api.Whoami](t, w.do(ask{method: "GET", path: "/api/v1/whoami", cert: &cert}), 200)
	if who.Principal != "spiffe://acme.example"+refunder || who.Person != "" || who.Ends != "" {
		t.Errorf("whoami is %+v", who)
	}
	for _, path := range []string{"/login", "/oidc/idp/callback", "/checkpoint", "/api/v1/logout", "/tile/0/000"} {
		if res := w.do(ask{method: "GET", path: path, cert: &cert}); res.Code != 404 && res.Code != 405 {
			t.Errorf("the workloads' door answers %s with %d", path, res.Code)
		}
	}
}

func TestAddressesAndMethods(t *testing.T) {
	w := newWorld(t)
	alice := w.session("alice", "support")
	for name, c := range map[string]struct {
		method, path string
		status       int
		code         string
	}{
		"nothing there":         {"GET", "/api/v2/requests", 404, "no_route"},
		"the root":              {"GET", "/", 404, "no_route"},
		"another method":        {"DELETE", "/api/v1/requests", 405, "method"},
		"acting by GET":         {"GET", "/api/v1/requests/req_01JZZZZZZZZZZZZZZZZZZZZZZZ/approve", 405, "method"},
		"no id":                 {"GET", "/api/v1/requests/x", 404, "not_found"},
		"an id of something":    {"GET", "/api/v1/requests/grt_01JZZZZZZZZZZZZZZZZZZZZZZZ", 404, "not_found"},
		"an id of nothing":      {"GET", "/api/v1/requests/req_01JZZZZZZZZZZZZZZZZZZZZZZZ", 404, "not_found"},
		"another spelling":      {"GET", "/api/v1/requests/req_01jzzzzzzzzzzzzzzzzzzzzzzz", 404, "not_found"},
		"unknown parameter":     {"GET", "/api/v1/requests?sort=asc", 400, "bad_query"},
		"parameter twice":       {"GET", "/api/v1/requests?state=denied&state=denied", 400, "bad_query"},
		"unknown state":         {"GET", "/api/v1/requests?state=open", 400, "bad_query"},
		"flag that is no one":   {"GET", "/api/v1/grants?all=yes", 400, "bad_query"},
		"too long a page":       {"GET", "/api/v1/grants?limit=201", 400, "bad_query"},
		"a made-up cursor":      {"GET", "/api/v1/grants?cursor=2", 400, "bad_query"},
		"everybody's":           {"GET", "/api/v1/requests?everyone=1", 403, "not_eligible"},
		"nodes":                 {"GET", "/api/v1/nodes", 403, "not_eligible"},
		"the record":            {"GET", "/api/v1/audit/export", 403, "not_eligible"},
		"entries of the record": {"GET", "/tile/entries/000.p/1", 403, "not_eligible"},
		"no tile":               {"GET", "/tile/../checkpoint", 404, "no_route"},
		"a tile not yet":        {"GET", "/tile/5/000", 404, "no_route"},
	} {
		if name == "no tile" {
			c.path = "/tile/x"
		}
		want(t, name, w.do(ask{method: c.method, path: c.path, session: alice}), c.status, c.code)
	}
	want(t, "tiles for nobody", w.do(ask{method: "GET", path: "/tile/0/000.p/1"}), 401, "no_session")
	res := w.do(ask{method: "GET", path: "/tile/0/000.p/1", session: alice})
	if res.Code != 200 || res.Body.Len() != 32 {
		t.Errorf("a tile: %d, %d bytes", res.Code, res.Body.Len())
	}
	res = w.do(ask{method: "GET", path: "/tile/entries/000.p/1", session: w.session("bob", "security")})
	if res.Code != 200 || !strings.Contains(res.Body.String(), `"policy.applied"`) {
		t.Errorf("entries for security: %d %s", res.Code, res.Body)
	}
}

// Every answer, also a refusal, is safe to have in a browser and in a cache.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/v1/whoami", "/checkpoint", "/nothing", "/oidc/idp/callback"} {
		h := w.do(ask{method: "GET", path: path}).Header()
		for name, value := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Strict-Transport-Security": "max-age=31536000",
		} {
			if h.Get(name) != value {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; frame-ancestors 'none'; ") || len(h.Values("Set-Cookie")) > 0 || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestP6_OwnRequestThroughTheAPI(t *testing.T) {
	w := newWorld(t)
	alice, admin, bob := w.session("alice", "support", "payments-leads"), w.session("alice-admin", "payments-leads"), w.session("bob", "payments-leads")
	made := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk}), 201)
	path := "/api/v1/requests/" + made.ID + "/approve"
	verdict := `{"offer_sha256":"` + made.Offer.SHA256 + `"}`
	want(t, "oneself", w.do(ask{method: "POST", path: path, session: alice, body: verdict}), 403, "self_approval")
	want(t, "one's other account", w.do(ask{method: "POST", path: path, session: admin, body: verdict}), 403, "self_approval")
	want(t, "another group", w.do(ask{method: "POST", path: path, session: w.session("dave", "security"), body: verdict}), 403, "not_eligible")
	want(t, "nothing shown", w.do(ask{method: "POST", path: path, session: bob, body: `{}`}), 422, "invalid")
	want(t, "another offer", w.do(ask{method: "POST", path: path, session: bob, body: `{"offer_sha256":"` + strings.Repeat("0", 64) + `"}`}), 409, "stale_offer")
	cert := w.svid(refunder)
	want(t, "a workload", w.do(ask{method: "POST", path: path, cert: &cert, body: verdict}), 403, "not_a_person")
	done := read[api.Request](t, w.do(ask{method: "POST", path: path, session: bob, body: verdict}), 200)
	if done.State != "approved" || done.Grant == "" || len(done.Approvals) != 1 || done.Steps[0].Given != 1 {
		t.Errorf("after the approval: %+v", done)
	}
	want(t, "once more", w.do(ask{method: "POST", path: path, session: bob, body: verdict}), 409, "not_pending")
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.session("alice", "support"), w.session("bob", "support")
	key := http.Header{"Idempotency-Key": {"k-1"}}
	one := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk, header: key}), 201)
	two := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: goodAsk, header: key}), 201)
	other := read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", session: bob, body: goodAsk, header: key}), 201)
	if one.ID != two.ID || one.ID == other.ID {
		t.Errorf("requests %s, %s and of another person %s", one.ID, two.ID, other.ID)
	}
	changed := strings.Replace(goodAsk, "5000", "5001", 1)
	want(t, "another ask", w.do(ask{method: "POST", path: "/api/v1/requests", session: alice, body: changed, header: key}), 422, "idempotency_key_reused")
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	cert := w.svid(refunder)
	made := map[string]bool{}
	for range 5 {
		made[read[api.Request](t, w.do(ask{method: "POST", path: "/api/v1/requests", cert: &cert, body: goodAsk}), 201).ID] = true
	}
	want(t, "a sixth", w.do(ask{method: "POST", path: "/api/v1/requests", cert: &cert, body: goodAsk}), 429, "pending_limit")
	for cursor, pages := "", 0; ; pages++ {
		page := read[api.Page[api.Request]](t, w.do(ask{method: "GET", path: "/api/v1/requests?limit=2" + cursor, cert: &cert}), 200)
		for _, r := range page.Items {
			if !made[r.ID] {
				t.Errorf("%s is listed twice, or is nobody's", r.ID)
			}
			delete(made, r.ID)
		}
		if page.Cursor == "" || pages > 5 {
			break
		}
		cursor = "&cursor=" + page.Cursor
	}
	if len(made) != 0 {
		t.Errorf("never listed: %v", made)
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t)
	res := w.do(ask{method: "GET", path: "/api/v1/audit/export", session: w.session("dave", "security")})
	if res.Code != 200 || res.Header().Get("Content-Type") != "application/x-tar" {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	dir := untar(t, res.Body)
	note := w.do(ask{method: "GET", path: "/checkpoint"})
	report, err := audit.Verify(dir, audit.VerifyOptions{Key: w.verifier.Key(), Kept: [][]byte{note.Body.Bytes()}})
	check(t, err)
	if !report.OK() || report.Leaves == 0 {
		t.Errorf("%+v", report)
	}
}

func untar(t testing.TB, r io.Reader) string {
	t.Helper()
	dir, archive := t.TempDir(), tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		check(t, err)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			check(t, os.MkdirAll(path, 0o700))
			continue
		}
		b, err := io.ReadAll(archive)
		check(t, err)
		check(t, os.WriteFile(path, b, 0o600))
	}
}

// A panic is a problem without its words, and the next request is answered.
func TestPanicsTellNothing(t *testing.T) {
	w := newWorld(t)
	res := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/checkpoint", nil)
	r.URL = nil // what no client can send
	func() {
		defer func() {
			if recover() != nil {
				t.Error("the panic left the door")
			}
		}()
		w.public.ServeHTTP(res, r)
	}()
	want(t, "panic", res, 500, "internal")
	if strings.Contains(res.Body.String(), "nil pointer") || !strings.Contains(w.log.String(), "nil pointer") {
		t.Errorf("answer %s, log %s", res.Body, w.log)
	}
}

func (w *world) svid(path string) tls.Certificate {
	w.t.Helper()
	c, err := w.ca.Mint(dev.Template{ID: devtest.ID(w.t, path)})
	check(w.t, err)
	return c
}
