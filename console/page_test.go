package console_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/console"
	"github.com/mayflyproxy/mayfly/identity"
)

// everyPage lists a page of each kind that somebody of the security group sees.
func (w *world) everyPage() (browser, []string) {
	w.t.Helper()
	s, alice := w.spool(), w.alice()
	r, waits := alice.granted(), alice.asks(refund())
	s.act(r, "http.get", audit.ResultSent)
	dave := w.dave()
	dave.asks(access.Ask{Entitlement: "mayfly/investigate", Reason: "who read what"})
	return dave, []string{
		"/", "/ask", "/ask?q=refund", "/ask?entitlement=stripe%2Frefunds", "/ask?entitlement=none", "/ask?denial=den_01JZZZZZZZZZZZZZZZZZZZZZZZ", "/waiting",
		"/requests/" + r.ID.String(), "/requests/" + waits.ID.String(), "/grants/" + r.Grant.String(), "/trace", "/trace/" + r.Grant.String(),
		"/explain/" + r.ID.String(), "/nodes",
	}
}

func TestEveryPageIsWhole(t *testing.T) {
	w := newWorld(t)
	dave, pages := w.everyPage()
	titles := map[string]string{}
	for _, path := range pages {
		res := dave.do("GET", path, "")
		page := res.Body.String()
		if res.Code != http.StatusOK {
			t.Errorf("%s: %d", path, res.Code)
		}
		for _, one := range []string{`<html lang="en">`, `<main id="main"`, `<header class="site"`, `<nav aria-label="Main"`, `<footer`, `href="#main"`, "</html>"} {
			if !strings.Contains(page, one) {
				t.Errorf("%s has no %s", path, one)
			}
		}
		_, title, _ := strings.Cut(page, "<title>")
		title, _, _ = strings.Cut(title, "</title>")
		if !strings.HasSuffix(title, " · Mayfly") {
			t.Errorf("%s is titled %q", path, title)
		}
		titles[title] = path
		if n := strings.Count(page, "<h1"); n != 1 {
			t.Errorf("%s has %d first headings", path, n)
		}
		// The policy of the browser would stop both, and what they were for with them.
		if found := regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+=|<style|<script(?:>| [^s])|javascript:|https?://[^"]*\.(?:js|css)`).FindString(page); found != "" {
			t.Errorf("%s has %q within", path, found)
		}
		for _, tag := range regexp.MustCompile(`<(?:input|textarea|select)[^>]*>`).FindAllString(page, -1) {
			id := attribute(tag, "id")
			labelled := strings.Contains(page, `for="`+id+`"`) && id != "" || attribute(tag, "aria-label") != "" || strings.Contains(tag, `type="hidden"`) || strings.Contains(tag, `type="radio"`)
			if !labelled {
				t.Errorf("%s: nothing says what %s is", path, tag)
			}
		}
		if strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "%!") {
			t.Errorf("%s has a value that its template refused", path)
		}
	}
	if len(titles) < 10 {
		t.Errorf("pages share their titles: %v", titles)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	dave, pages := w.everyPage()
	nobody := browser{world: w}
	answers := map[string]*httptest.ResponseRecorder{
		"no page":      dave.do("GET", "/nothing", ""),
		"nobody":       nobody.do("GET", "/", ""),
		"cross site":   dave.do("POST", "/ask", "a=b", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
		"no asset":     dave.do("GET", "/assets/none.css", ""),
		"another verb": dave.do("PUT", "/ask", "a=b"),
		"events":       nobody.do("GET", "/events", ""),
	}
	for _, path := range pages {
		answers[path] = dave.do("GET", path, "")
	}
	for name, res := range answers {
		h := res.Header()
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000",
		} {
			if got := h.Get(header); got != want {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q has no %s", name, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: policy %q", name, policy)
		}
	}
}

func TestAssetsAreNamedByTheirBytes(t *testing.T) {
	w := newWorld(t)
	page := w.alice().get("/")
	found := regexp.MustCompile(`/assets/[a-z]+\.[0-9a-f]{16}\.(?:css|js|svg)`).FindAllString(page, -1)
	if len(found) < 3 {
		t.Fatalf("found %v", found)
	}
	for _, path := range found {
		res := browser{world: w}.do("GET", path, "") // before anybody is logged in
		if res.Code != http.StatusOK || res.Body.Len() == 0 || !strings.Contains(res.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %s", path, res.Code, res.Header())
		}
	}
	wantsNot(t, page, "http://", "//cdn")
}

func TestNobodyIsSentToLogIn(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	for name, b := range map[string]browser{"no cookie": {world: w}, "another's guess": {world: w, secret: strings.Repeat("a", 43)}, "too long": {world: w, secret: strings.Repeat("a", 500)}} {
		res := b.do("GET", "/ask?entitlement=stripe%2Frefunds&return=x", "")
		to, err := url.Parse(res.Header().Get("Location"))
		check(t, err)
		if res.Code != http.StatusSeeOther || to.Path != "/login" || to.Query().Get("return") != "/ask?entitlement=stripe%2Frefunds&return=x" || to.Host != "" {
			t.Errorf("%s: %d to %s", name, res.Code, to)
		}
	}
	twice := alice.do("GET", "/", "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie, Value: "another"}) })
	if twice.Code != http.StatusSeeOther {
		t.Errorf("two cookies: %d", twice.Code)
	}
	// A session of another door is nothing here.
	secret, _, err := w.NewSession(t.Context(), access.Login{Kind: access.SessionAPI, ProofKey: [32]byte{1}, Principal: alice.session.Principal})
	check(t, err)
	if res := (browser{world: w, secret: secret.Reveal()}).do("GET", "/", ""); res.Code != http.StatusSeeOther {
		t.Errorf("a session of the command: %d", res.Code)
	}
	check(t, w.EndSession(t.Context(), alice.session.ID))
	if res := alice.do("GET", "/", ""); res.Code != http.StatusSeeOther {
		t.Errorf("an ended session: %d", res.Code)
	}
}

func TestNoGETActs(t *testing.T) {
	w := newWorld(t)
	dave, pages := w.everyPage()
	alice := w.alice()
	waits := alice.asks(refund())
	before := w.state()
	for _, path := range append(pages, "/requests/"+waits.ID.String()+"/decide?verdict=approve", "/requests/"+waits.ID.String()+"/withdraw", "/grants/"+waits.ID.String()+"/finish",
		"/ask?entitlement=reports%2Fread&do=ask&key="+strings.Repeat("0", 32)) {
		for _, method := range []string{"GET", "HEAD"} {
			if !strings.HasPrefix(path, "/trace/") { // that somebody read what another did is itself on record
				dave.do(method, path, "")
			}
			alice.do(method, path, "")
		}
	}
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
}

func TestWhatIsAnothersIsNotThere(t *testing.T) {
	w := newWorld(t)
	alice, erin := w.alice(), w.login("erin")
	r, waits := alice.granted(), alice.asks(refund())
	for _, path := range []string{
		"/requests/" + r.ID.String(), "/requests/" + waits.ID.String(), "/grants/" + r.Grant.String(), "/trace/" + r.ID.String(), "/trace/" + r.Grant.String(),
		"/explain/" + r.ID.String(), "/requests/x", "/grants/x", "/trace/x", "/explain/grt_",
	} {
		res := erin.do("GET", path, "")
		if res.Code != http.StatusNotFound || strings.Contains(res.Body.String(), "Alice") {
			t.Errorf("GET %s: %d", path, res.Code)
		}
	}
	before := w.state()
	for _, path := range []string{
		"/requests/" + waits.ID.String() + "/withdraw", "/grants/" + r.Grant.String() + "/finish", "/grants/" + r.Grant.String() + "/revoke",
	} {
		if res := erin.do("POST", path, "reason=x"); res.Code != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, res.Code)
		}
	}
	if res := erin.do("POST", "/requests/"+waits.ID.String()+"/decide", "verdict=approve&offer="+waits.OfferDigest); res.Code != http.StatusForbidden {
		t.Errorf("decided: %d", res.Code)
	}
	if res := erin.do("GET", "/nodes", ""); res.Code != http.StatusForbidden {
		t.Errorf("nodes: %d", res.Code)
	}
	if after := w.state(); after != before {
		t.Errorf("state was %s, is %s", before, after)
	}
	wantsNot(t, erin.get("/"), "/nodes")
}

func TestProblemsArePages(t *testing.T) {
	w := newWorld(t)
	c, err := console.New(console.Config{Service: w.Service, Origin: origin, Dev: true})
	check(t, err)
	for status, code := range map[int]string{404: "not_found", 403: "not_eligible", 429: "rate_limited", 500: "internal", 401: "login_again"} {
		out := httptest.NewRecorder()
		c.Problem(out, httptest.NewRequest("GET", "/somewhere?a=b", nil), &api.Problem{Status: status, Code: code, Title: "A <title>", Detail: "<script>alert(1)</script>"})
		page := out.Body.String()
		wants(t, page, "A <title>", "<script>alert(1)</script>", "Code "+code)
		wantsNot(t, page, "<script>alert")
		if out.Code != status || out.Header().Get("Content-Security-Policy") == "" || !strings.Contains(page, "Development") {
			t.Errorf("%s: %d", code, out.Code)
		}
		if again := strings.Contains(page, "/login?return=%2Fsomewhere%3Fa%3Db"); again != (code == "login_again") {
			t.Errorf("%s: log in again is %v", code, again)
		}
	}
	out := httptest.NewRecorder()
	c.Choose(out, httptest.NewRequest("GET", "/login", nil), []string{"staff", "<b>partners"}, func(name string) string { return "/login?idp=" + url.QueryEscape(name) })
	wants(t, out.Body.String(), "staff", "<b>partners")
	if page := out.Body.String(); !strings.Contains(page, `href="/login?idp=staff"`) || strings.Contains(page, "<b>partners") {
		t.Error(page)
	}
}

func TestConfirmPage(t *testing.T) {
	w := newWorld(t)
	c, err := console.New(console.Config{Service: w.Service, Origin: origin})
	check(t, err)
	for address, formTo := range map[string]string{"127.0.0.1:40000": "http://127.0.0.1:40000", "[::1]:40000": "http:"} {
		out := httptest.NewRecorder()
		c.Confirm(out, httptest.NewRequest("GET", "/oidc/idp/callback", nil), api.CommandLogin{
			Name: "<b>Alice", Principal: "user:idp:alice", Address: address, Code: "ABCDE-FGHIJ", Token: "token-of-the-page",
		})
		wants(t, out.Body.String(), "<b>Alice", "user:idp:alice", address, "ABCDE-FGHIJ")
		if page := out.Body.String(); strings.Contains(page, "<b>Alice") || !strings.Contains(page, `method="post" action="/login/confirm"`) || !strings.Contains(page, `value="token-of-the-page"`) {
			t.Error(page)
		}
		h := out.Header()
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "form-action 'self' "+formTo+";") || !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || h.Get("X-Frame-Options") != "DENY" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", h)
		}
	}
}

func TestOldGroupsAskForALogin(t *testing.T) {
	w := newWorld(t)
	bob := w.bob()
	w.alice().asks(refund())
	wants(t, bob.get("/"), "1 request waits for your approval")
	w.pass(16 * time.Minute)
	wants(t, bob.get("/"), "Your groups were read too long ago", "Log in again")
	wants(t, bob.get("/ask"), "Your groups were read too long ago")
	res := bob.do("GET", "/waiting", "")
	wants(t, res.Body.String(), "Log in again")
	if res.Code != http.StatusUnauthorized || !strings.Contains(res.Body.String(), `href="/login?return=%2Fwaiting"`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]console.Config{
		"no service":      {Origin: origin},
		"no origin":       {Service: w.Service},
		"plain http":      {Service: w.Service, Origin: "http://mayfly.acme.example"},
		"with a path":     {Service: w.Service, Origin: origin + "/x"},
		"with a query":    {Service: w.Service, Origin: origin + "?a=b"},
		"with an account": {Service: w.Service, Origin: "https://a@mayfly.acme.example"},
	} {
		if _, err := console.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	dave := w.dave()
	wants(t, dave.get("/nodes"), gateway, "absent", "No process of it runs")
	i := w.join()
	wants(t, dave.get("/nodes"), "fresh", i.Run, "prod", "stripe, reports")
	w.pass(time.Hour)
	w.t.Log("the lease runs out")
	wants(t, w.dave().get("/nodes"), "stale")
	c, err := console.New(console.Config{Service: w.Service, Origin: origin, EnvoyStatus: func() map[string]console.EnvoyStatus {
		return map[string]console.EnvoyStatus{i.String(): {Connected: true, Nack: "<b>no route</b>", Uncovered: []string{"reports.acme.example"}}}
	}})
	check(t, err)
	w.pages = c.Handler()
	page := w.dave().get("/nodes")
	wants(t, page, "connected", "Its Envoy refused: <b>no route</b>", "It has no certificate for: reports.acme.example")
	wantsNot(t, page, "<b>no route")
}

func TestWorkloads(t *testing.T) {
	w := newWorld(t)
	wants(t, w.dave().get("/workloads"), "No workload has called yet")
	for _, name := range []string{"spiffe://acme.example/ns/pay/sa/refunder", "spiffe://acme.example/ns/web/sa/lurker", "spiffe://partner.example/a"} {
		p, err := identity.ParsePrincipal(name)
		check(t, err)
		w.SawWorkload(t.Context(), p)
	}
	page := w.dave().get("/workloads")
	wants(t, page, "ns/pay/sa/refunder", "Of team-payments", "ns/web/sa/lurker", "Policy names no owner", "unknown trust domain", "never at a gateway")
	page = w.dave().get("/workloads?unknown=1")
	wants(t, page, "ns/web/sa/lurker", "Show all")
	wantsNot(t, page, "refunder")
	if res := w.login("erin").do("GET", "/workloads", ""); res.Code != http.StatusForbidden {
		t.Errorf("who is not of the security group: %d", res.Code)
	}
}

func TestAPanicIsAPage(t *testing.T) {
	w := newWorld(t)
	c, err := console.New(console.Config{Service: w.Service, Origin: origin, Log: slog.New(slog.NewJSONHandler(w.log, nil)), EnvoyStatus: func() map[string]console.EnvoyStatus {
		panic("what is in here stays here")
	}})
	check(t, err)
	w.pages = c.Handler()
	res := w.dave().do("GET", "/nodes", "")
	wants(t, res.Body.String(), "Something went wrong")
	wantsNot(t, res.Body.String(), "stays here")
	if res.Code != http.StatusInternalServerError || !strings.Contains(w.log.String(), "stays here") {
		t.Errorf("%d, log %s", res.Code, w.log)
	}
}

func TestHomeShowsWhatEndsFirst(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	long, err := w.Request(t.Context(), alice.caller(), access.Ask{Entitlement: "reports/read", Duration: 20 * time.Minute})
	check(t, err)
	short, err := w.Request(t.Context(), alice.caller(), access.Ask{Entitlement: "reports/read", Duration: 10 * time.Minute})
	check(t, err)
	newest, err := w.Request(t.Context(), alice.caller(), access.Ask{Entitlement: "reports/read", Duration: 30 * time.Minute})
	check(t, err)
	waits := alice.asks(refund())
	page := alice.get("/")
	at := -1
	for _, id := range []string{short.Grant.String(), long.Grant.String(), newest.Grant.String(), waits.ID.String(), newest.ID.String()} {
		next := strings.Index(page, id)
		if next <= at {
			t.Errorf("%s stands at %d, after %d", id, next, at)
		}
		at = next
	}
	wants(t, page, "In force now", "Ends in 9 min", "Waiting for a decision", "Your latest requests")
	f := fill(t, page, "/grants/"+short.Grant.String()+"/finish", nil)
	alice.post("/grants/"+short.Grant.String()+"/finish", f, http.StatusSeeOther)
	wantsNot(t, alice.get("/"), "/grants/"+short.Grant.String()+"/finish")
	wants(t, w.login("erin").get("/"), "You hold no access now")
}

func TestEveryPageSaysHowPolicyStands(t *testing.T) {
	w := newWorld(t)
	dave, pages := w.everyPage()
	if page := dave.get("/"); strings.Contains(page, `class="policy"`) {
		t.Error("all is well, and the page has something to say of policy")
	}
	if err := w.RefusePolicy(t.Context(), strings.Repeat("d", 40), "unsigned", "<b>it is not signed</b>"); err != nil {
		t.Fatal(err)
	}
	if err := w.LostPolicy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		page := dave.get(path)
		for _, want := range []string{"Policy commit dddddddddddd is refused (unsigned)", "The policy repository cannot be read since"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
	}
	if out := (browser{world: w}).do("GET", "/", "").Body.String(); strings.Contains(out, "dddddddddddd") {
		t.Error("somebody who is not logged in is told how policy stands")
	}
}
