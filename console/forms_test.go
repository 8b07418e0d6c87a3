package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	r := alice.granted()
	site := func(v ...string) func(*http.Request) { return func(q *http.Request) { q.Header["Sec-Fetch-Site"] = v } }
	from := func(v ...string) func(*http.Request) {
		return func(q *http.Request) {
			q.Header.Del("Sec-Fetch-Site")
			q.Header["Origin"] = v
		}
	}
	before := w.state()
	for name, change := range map[string]func(*http.Request){
		"another site":         site("cross-site"),
		"a sibling":            site("same-site"),
		"a word of no browser": site("Same-Origin"),
		"nothing":              site(""),
		"two words":            site("same-origin", "cross-site"),
		"neither header":       from(),
		"another origin":       from("https://evil.example"),
		"an app's origin":      from(reports),
		"another port":         from("https://mayfly.acme.example"),
		"plain http":           from("http://mayfly.acme.example:8443"),
		"a hidden origin":      from("null"),
		"two origins":          from(origin, "https://evil.example"),
		"another site, an origin of ours": func(q *http.Request) {
			q.Header["Origin"], q.Header["Sec-Fetch-Site"] = []string{origin}, []string{"cross-site"}
		},
	} {
		for _, path := range []string{"/ask", "/grants/" + r.Grant.String() + "/finish", "/requests/" + r.ID.String() + "/decide", "/requests/" + r.ID.String() + "/withdraw"} {
			res := alice.do("POST", path, "verdict=approve&secret=typed", change)
			if res.Code != http.StatusForbidden || strings.Contains(res.Body.String(), "typed") {
				t.Errorf("%s, %s: %d", name, path, res.Code)
			}
		}
	}
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
	for name, change := range map[string]func(*http.Request){"the person": site("none"), "our origin": from(origin)} {
		again := alice.granted()
		if res := alice.do("POST", "/grants/"+again.Grant.String()+"/finish", "a=b", change); res.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", name, res.Code)
		}
	}
}

func TestFormsAreBounded(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	before := w.state()
	kind := func(v string) func(*http.Request) { return func(q *http.Request) { q.Header.Set("Content-Type", v) } }
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
	}{
		"too large":     {"reason=" + strings.Repeat("x", 64<<10), nil, 413},
		"a field twice": {"entitlement=a&entitlement=b", nil, 400},
		"no UTF-8":      {"reason=%ff", nil, 400},
		"half a byte":   {"reason=%f", nil, 400},
		"semicolons":    {"a=b;c=d", nil, 400},
		"JSON":          {`{"a":"b"}`, kind("application/json"), 415},
		"text":          {"a=b", kind("text/plain"), 415},
		"files":         {"a=b", kind("multipart/form-data; boundary=x"), 415},
		"no kind":       {"a=b", kind(""), 415},
		"packed":        {"a=b", func(q *http.Request) { q.Header.Set("Content-Encoding", "gzip") }, 415},
	} {
		change := c.change // nil: none
		if change == nil {
			change = func(*http.Request) {}
		}
		if res := alice.do("POST", "/ask", c.body, change); res.Code != c.status || name == "a field twice" && !strings.Contains(text(res.Body.String()), "stands twice") {
			t.Errorf("%s: %d, want %d: %s", name, res.Code, c.status, text(res.Body.String()))
		}
	}
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
}

func TestWhatIsTypedOutlivesTheLogin(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	f := fill(t, alice.get("/ask?entitlement=stripe%2Frefunds"), "/ask", map[string]string{
		"param.charge": "ch_1", "param.amount_max": "1", "reason": "a \"long\" story\nof <two> lines", "do": "ask",
	})
	check(t, w.EndSession(t.Context(), alice.session.ID))
	before := w.state()
	res := alice.post("/ask", f, http.StatusUnauthorized)
	wants(t, res.Body.String(), "nothing was done", "Log in in another window", "Send again")
	if w.state() != before {
		t.Error("something was done")
	}
	kept := fill(t, res.Body.String(), "/ask", nil)
	if kept.Encode() != f.Encode() {
		t.Errorf("kept %v, want %v", kept, f)
	}
	again := w.alice()
	to := again.post("/ask", kept, http.StatusSeeOther).Header().Get("Location")
	wants(t, again.get(to), "of <two> lines", "pending")
}

// hostile is what somebody may type to reach somebody else's browser.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' autofocus onfocus='alert(1)`, `</textarea><script>alert(1)</script>`,
		`javascript:alert(1)`, `{{.Who}}`, "\u202egnp.exe", `</title><script>alert(1)</script>`, `&lt;script&gt;alert(1)`,
	}
}

func TestNoTextBecomesAPage(t *testing.T) {
	w := newWorld(t)
	s := w.spool()
	for _, bad := range hostile() {
		evil := w.called(bad)
		a := refund()
		a.Reason = "why: " + bad
		r := evil.asks(a)
		bob := w.bob()
		f := fill(t, bob.get("/requests/"+r.ID.String()), "/requests/"+r.ID.String()+"/decide", map[string]string{"verdict": "deny", "reason": "no: " + bad})
		bob.post("/requests/"+r.ID.String()+"/decide", f, http.StatusSeeOther)
		waits := evil.asks(a)
		granted := evil.asks(access.Ask{Entitlement: "reports/read"})
		s.act(granted, bad, "sent")
		denied := s.deny(evil.session.Principal, "stripe", bad, nil)
		q := url.QueryEscape(bad)
		for _, path := range []string{
			"/", "/requests/" + r.ID.String(), "/requests/" + waits.ID.String() + "?return=" + q, "/grants/" + granted.Grant.String(), "/trace/" + granted.Grant.String(),
			"/trace/" + denied, "/trace/" + r.ID.String(), "/trace/" + url.PathEscape(bad), "/explain/" + r.ID.String(), "/requests/" + url.PathEscape(bad), "/" + url.PathEscape(bad),
			"/ask?q=" + q, "/ask?entitlement=" + q, "/ask?denial=" + q, "/ask?entitlement=stripe%2Frefunds&param.charge=" + q + "&duration=" + q + "&return=" + q,
			"/ask?entitlement=reports%2Fread&duration=" + q,
		} {
			harmless(t, path, bad, evil.do("GET", path, "").Body.String())
		}
		for _, path := range []string{"/", "/waiting", "/requests/" + waits.ID.String()} {
			page := w.bob().get(path)
			harmless(t, path, bad, page)
		}
		harmless(t, "nodes", bad, w.dave().get("/nodes"))
		all := url.Values{"entitlement": {bad}, "param." + bad: {bad}, "duration": {bad}, "other": {bad}, "reason": {bad}, "key": {bad}, "return": {bad}, "do": {bad}}
		harmless(t, "POST /ask", bad, evil.do("POST", "/ask", all.Encode()).Body.String())
		all.Set("entitlement", "stripe/refunds")
		harmless(t, "POST /ask", bad, evil.do("POST", "/ask", all.Encode()).Body.String())
		all.Set("do", "check")
		all.Set("duration", "other")
		harmless(t, "POST /ask check", bad, evil.do("POST", "/ask", all.Encode()).Body.String())
		harmless(t, "logged out", bad, browser{world: w}.do("POST", "/ask", all.Encode()).Body.String())
		withdraw := evil.do("POST", "/requests/"+waits.ID.String()+"/withdraw", url.Values{"return": {bad}}.Encode())
		if withdraw.Code != http.StatusSeeOther || strings.Contains(withdraw.Header().Get("Location"), "return=") {
			t.Errorf("withdrawn: %d %s", withdraw.Code, withdraw.Header())
		}
	}
}

// harmless holds a page to showing text as text: no tag, attribute or address of
// ours may come from it.
func harmless(t *testing.T, path, bad, page string) {
	t.Helper()
	for _, one := range []string{"<script>", "<img src=x", " onfocus='", "</textarea><script", `href="javascript:`, "\u202e"} {
		if strings.Contains(page, one) {
			t.Errorf("%s, with %q: the page has %q", path, bad, one)
		}
	}
	if strings.Count(page, "<script") != 1 || strings.Count(page, "<img") != 1 || strings.Contains(page, "ZgotmplZ") {
		t.Errorf("%s, with %q: another script or picture: %s", path, bad, page)
	}
}
