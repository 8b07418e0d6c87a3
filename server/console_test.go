package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/server"
)

// drawn is Pages as plain text.
type drawn struct{}

func (drawn) Choose(w http.ResponseWriter, _ *http.Request, names []string, next func(string) string) {
	w.Header().Set("Content-Type", "text/html")
	for _, name := range names {
		fmt.Fprintln(w, next(name))
	}
}

func (drawn) Confirm(w http.ResponseWriter, _ *http.Request, ask api.CommandLogin) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintln(w, ask.Name, ask.Principal, ask.Address, ask.Code, ask.Token)
}

func (drawn) LoggedOut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintln(w, "logged out")
}

func (drawn) Problem(w http.ResponseWriter, _ *http.Request, p *api.Problem) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(p.Status)
	fmt.Fprintf(w, "%s: %s\n%s\n", p.Code, p.Detail, p.Next)
}

// bent is a provider that a test bends.
type bent struct {
	server.Provider
	begin  error
	finish func(context.Context, *oidc.Facts) error
	logout func(string) (oidc.LogoutFacts, error)
	undone int
}

func (b *bent) Undo(oidc.LogoutFacts) { b.undone++ }

func (b *bent) Begin(ctx context.Context, state string) (string, []byte, error) {
	if b.begin != nil {
		return "", nil, b.begin
	}
	return b.Provider.Begin(ctx, state)
}

func (b *bent) Finish(ctx context.Context, keep []byte, q url.Values) (oidc.Facts, error) {
	f, err := b.Provider.Finish(ctx, keep, q)
	if err == nil && b.finish != nil {
		err = b.finish(ctx, &f)
	}
	return f, err
}

func (b *bent) Logout(_ context.Context, token string) (oidc.LogoutFacts, error) {
	return b.logout(token)
}

// page holds a page to a status and to what it says.
func page(t testing.TB, name string, res *httptest.ResponseRecorder, status int, says string) {
	t.Helper()
	if res.Code != status || !strings.Contains(res.Body.String(), says) || res.Header().Get("Content-Type") != "text/html" {
		t.Errorf("%s: %d %s, want %d %q", name, res.Code, res.Body, status, says)
	}
}

// lives reports whether a secret is that of a live console session.
func (w *world) lives(secret string) bool {
	w.t.Helper()
	_, err := w.Session(w.t.Context(), access.SessionConsole, access.ParseSessionSecret(secret))
	if err != nil && access.CodeOf(err) != access.CodeNoSession {
		w.t.Fatal(err)
	}
	return err == nil
}

func TestConsoleLogin(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	if to := b.login("/login?return=%2Fask%3Fdenial%3Dden_1%26return%3Dhttps%253A%252F%252Freports.acme.example%252F", "alice"); to != "/ask?denial=den_1&return=https%3A%2F%2Freports.acme.example%2F" {
		t.Errorf("sent to %s", to)
	}
	secret := b.cookies[api.ConsoleCookie]
	session, err := w.Session(t.Context(), access.SessionConsole, access.ParseSessionSecret(secret))
	check(t, err)
	if session.Principal.String() != "user:idp:alice" || session.Kind != access.SessionConsole || len(session.Groups) != 1 {
		t.Errorf("session is %+v", session)
	}
	want(t, "the cookie as bearer", w.do(ask{method: "GET", path: "/api/v1/whoami", session: secret}), 401, "no_session")
	want(t, "the cookie at the API", b.get("/api/v1/whoami"), 401, "no_session")
	if to := w.browser().login("/login", "alice"); to != "/" {
		t.Errorf("without a page in mind: sent to %s", to)
	}
	for _, text := range []string{secret, b.cookies["__Host-mayfly-oidc"], "user:idp:alice"} {
		if strings.Contains(w.log.String(), text) {
			t.Errorf("the log tells %q", text)
		}
	}
}

// Nobody is led elsewhere, however the address is written.
func TestReturnLeadsNowhereElse(t *testing.T) {
	w := newWorld(t)
	for i, to := range []string{
		"https://evil.example", "http://evil.example/", "//evil.example", "///evil.example", "////evil.example", "/\\evil.example",
		"\\\\evil.example", "\\/evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example",
		"/\x00/evil.example", "javascript:alert(1)", "data:text/html,x", "evil.example", "?x", "#x", "/ask#x", "/a//evil.example", "/./\\evil.example",
		"/../evil", "/a/..//evil.example", "/%2e%2e//evil.example", "/%5cevil.example", "/%2fevil.example", "/%09/evil.example", "https:evil.example",
		"https:/evil.example", "///", "/login", "/login?return=/login", "/logout", "/oidc/idp/callback?code=x", "/oauth/authorize?x=1", "/.well-known/openid-configuration",
		"/%6cogin", "/api/v1/whoami", "/ask\r\nSet-Cookie: a=b", "/ask\u2028", "/" + strings.Repeat("a", 4096), "/@evil.example/..", "/%zz", "/\u00e9", "/ask?q=\u00e9", "/ask?q=\\",
	} {
		b := w.browser()
		b.remote = fmt.Sprintf("198.51.100.%d:1", i+1)
		if got := b.login("/login?return="+url.QueryEscape(to), "alice"); got != "/" {
			t.Errorf("%q: sent to %q", to, got)
		}
	}
	for _, to := range []string{"/", "/ask", "/ask?q=a//b:c@d", "/requests/req_1", "/loginx", "/waiting?x=https://a"} {
		b := w.browser()
		b.remote = "203.0.113.9:1"
		if got := b.login("/login?return="+url.QueryEscape(to), "alice"); got != to {
			t.Errorf("%q: sent to %q", to, got)
		}
	}
}

// The answer of a provider counts in the browser that began the login, at the
// address of that provider, once. Who tries it elsewhere takes nothing away.
func TestStolenState(t *testing.T) {
	w := newWorldWith(t, func(w *world, c *server.Config) {
		c.Providers = append(c.Providers, w.provider("partner"))
	})
	for _, start := range []string{"/login?idp=idp", "/login?idp=partner", commandLogin + "&idp=idp"} {
		victim, thief := w.browser(), w.browser()
		answer := victim.answer(start, "alice")
		_ = thief.answer(start, "bob") // has a cookie of its own
		mixed := strings.Replace(strings.Replace(strings.Replace(answer, "/idp/", "/x/", 1), "/partner/", "/idp/", 1), "/x/", "/partner/", 1)
		want(t, "another browser", thief.get(answer), 401, "no_session")
		want(t, "a browser without cookies", w.browser().get(answer), 401, "no_session")
		want(t, "another provider's address", victim.get(mixed), 401, "no_session")
		want(t, "nobody's address", victim.get("/oidc/other/callback"+answer[strings.Index(answer, "?"):]), 404, "no_route")
		for name, value := range map[string]string{
			"a short cookie": "abc", "an empty cookie": "", "two cookies": victim.cookies["__Host-mayfly-oidc"] + "; __Host-mayfly-oidc=" + thief.cookies["__Host-mayfly-oidc"],
		} {
			other := victim.same()
			other.cookies["__Host-mayfly-oidc"] = value
			want(t, name, other.get(answer), 401, "no_session")
		}
		if thief.cookies[api.ConsoleCookie] != "" {
			t.Fatal("the thief is logged in")
		}
		victim.end(answer)
		want(t, "once more", victim.get(answer), 401, "no_session")
		w.pass(time.Minute) // for the limit of tries
	}
	late := w.browser()
	answer := late.answer("/login?idp=idp", "alice")
	w.pass(10*time.Minute + time.Second)
	want(t, "after ten minutes", late.get(answer), 401, "no_session")
}

// Logins in several tabs of one browser do not disturb each other.
func TestTabs(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	one, two, three := b.answer("/login?return=/one", "alice"), b.answer("/login?return=/two", "alice"), b.answer(commandLogin, "alice")
	if to := b.to(two); to != "/two" {
		t.Errorf("sent to %s", to)
	}
	if to := b.end(three); !strings.HasPrefix(to, "http://127.0.0.1:40000/callback?code=") {
		t.Errorf("sent to %s", to)
	}
	if to := b.to(one); to != "/one" {
		t.Errorf("sent to %s", to)
	}
}

// A session that somebody put into a browser, or saw there, is nothing after a
// login: the browser has another one, and the old one has ended.
func TestSessionFixation(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.login("/login", "bob")
	planted := b.cookies[api.ConsoleCookie]
	b.login("/login", "alice")
	if now := b.cookies[api.ConsoleCookie]; now == planted || !w.lives(now) || w.lives(planted) {
		t.Errorf("the planted session lives: %v, the new one: %v", w.lives(planted), w.lives(now))
	}
	made := w.browser()
	made.cookies[api.ConsoleCookie] = base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	made.login("/login", "alice")
	if made.cookies[api.ConsoleCookie] == base64.RawURLEncoding.EncodeToString(make([]byte, 32)) {
		t.Error("a made-up secret became a session's")
	}
}

func appLogin(app, host, state string) string {
	return "/login?" + url.Values{"app": {app}, "host": {host}, "state": {state}}.Encode()
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A person who opens an app is logged in once for all of them, and carried over
// with a code that one gateway turns into one session.
func TestLoginForAnApp(t *testing.T) {
	w := newWorld(t)
	b, state := w.browser(), hashOf("entry")
	start := appLogin("reports", "reports.acme.example", state)
	var codes []string
	for i, to := range []string{b.login(start, "alice"), b.to(start), b.to(start)} {
		u, err := url.Parse(to)
		check(t, err)
		if u.Scheme != "https" || u.Host != "reports.acme.example" || u.Path != "/.mayfly/callback" || u.Query().Get("state") != state {
			t.Errorf("%d: sent to %s", i, to)
		}
		codes = append(codes, u.Query().Get("code"))
	}
	instance := feed.Instance{Sidecar: "spiffe://acme.example/gw/sidecar", Run: strings.Repeat("a", 32)}
	_, err := w.Source().Join(t.Context(), instance, &feed.Subscribe{Instance: instance.String(), Version: "test", Reader: 2})
	check(t, err)
	redeem := func(code string) error {
		hash := sha256.Sum256([]byte(code))
		_, err := w.Source().Redeem(t.Context(), instance, &feed.RedeemRequest{Code: code, State: state, App: "reports", Host: "reports.acme.example", Hash: hash[:]})
		return err
	}
	if err := redeem(codes[0]); err != nil {
		t.Errorf("redeem: %v", err)
	}
	if redeem(codes[0]) == nil {
		t.Error("a code counts twice")
	}
	if err := redeem(codes[1]); err != nil {
		t.Errorf("the code of another tab: %v", err)
	}
	logout(t, b)
	if redeem(codes[2]) == nil {
		t.Error("a code of a session that has ended counts")
	}
	if to := b.to(start); !strings.HasPrefix(to, w.idp.Issuer()) {
		t.Errorf("after logout: sent to %s", to)
	}
}

func logout(t testing.TB, b *browser) {
	t.Helper()
	secret := b.cookies[api.ConsoleCookie]
	res := b.send("POST", "/logout", http.Header{"Sec-Fetch-Site": {"same-origin"}})
	if res.Code != http.StatusNoContent || res.Header().Get("Location") != "" || b.cookies[api.ConsoleCookie] != "" || b.w.lives(secret) {
		t.Errorf("logout: %d to %s, lives: %v", res.Code, res.Header().Get("Location"), b.w.lives(secret))
	}
}

// What no app can be at is refused before anybody goes to a provider, and in the
// same way for who is logged in already.
func TestNoLoginForWhatIsNoApp(t *testing.T) {
	w := newWorldWith(t, func(_ *world, c *server.Config) { c.Pages = drawn{} })
	state, in := hashOf("entry"), w.browser()
	in.login("/login", "alice")
	for name, c := range map[string]struct {
		path   string
		status int
	}{
		"an unknown app":       {appLogin("nothing", "reports.acme.example", state), 404},
		"an unknown host":      {appLogin("reports", "evil.example", state), 404},
		"another app's host":   {appLogin("reports", "stripe.acme.example", state), 404},
		"no people":            {appLogin("stripe", "stripe.acme.example", state), 404},
		"a host with port":     {appLogin("reports", "reports.acme.example:444", state), 400},
		"a host in capitals":   {appLogin("reports", "Reports.acme.example", state), 400},
		"a host with a dot":    {appLogin("reports", "reports.acme.example.", state), 400},
		"a host with a path":   {appLogin("reports", "reports.acme.example/x", state), 400},
		"a host with a name":   {appLogin("reports", "a@reports.acme.example", state), 400},
		"no state":             {"/login?app=reports&host=reports.acme.example", 400},
		"no host":              {"/login?app=reports&state=" + state, 400},
		"no app":               {"/login?host=reports.acme.example&state=" + state, 400},
		"a short state":        {appLogin("reports", "reports.acme.example", state[1:]), 400},
		"a state misspelt":     {appLogin("reports", "reports.acme.example", strings.Repeat("_", 43)), 400},
		"a state of marks":     {appLogin("reports", "reports.acme.example", strings.Repeat(".", 43)), 400},
		"an app with a mark":   {appLogin("../reports", "reports.acme.example", state), 400},
		"a return too":         {appLogin("reports", "reports.acme.example", state) + "&return=/", 400},
		"the host twice":       {appLogin("reports", "reports.acme.example", state) + "&host=evil.example", 400},
		"an unknown parameter": {appLogin("reports", "reports.acme.example", state) + "&next=/", 400},
	} {
		page(t, name, in.get(c.path), c.status, ":")
		out := w.browser()
		page(t, name+", not logged in", out.get(c.path), c.status, ":")
		if len(out.cookies) > 0 {
			t.Errorf("%s: cookies %v", name, out.cookies)
		}
	}
}

// Only a page of ours logs a person out.
func TestLogoutFromElsewhere(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		header http.Header
		ok     bool
	}{
		"our own page":                 {http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {public}}, true},
		"typed":                        {http.Header{"Sec-Fetch-Site": {"none"}}, true},
		"an old browser":               {http.Header{"Origin": {public}}, true},
		"another site":                 {http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		"a sibling host":               {http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		"a sibling with our origin":    {http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {public}}, false},
		"twice":                        {http.Header{"Sec-Fetch-Site": {"same-origin", "cross-site"}}, false},
		"a word of tomorrow":           {http.Header{"Sec-Fetch-Site": {"same-party"}}, false},
		"nothing said":                 {http.Header{}, false},
		"an old browser, another site": {http.Header{"Origin": {"https://evil.example"}}, false},
		"an old browser, a sibling":    {http.Header{"Origin": {"https://reports.acme.example:8443"}}, false},
		"an old browser, another port": {http.Header{"Origin": {"https://mayfly.acme.example"}}, false},
		"an old browser, in clear":     {http.Header{"Origin": {"http://mayfly.acme.example:8443"}}, false},
		"an old browser, a suffix":     {http.Header{"Origin": {public + ".evil.example"}}, false},
		"an old browser, a sandbox":    {http.Header{"Origin": {"null"}}, false},
		"two origins":                  {http.Header{"Origin": {public, "https://evil.example"}}, false},
	} {
		w.pass(time.Minute)
		b := w.browser()
		b.login("/login", "alice")
		secret := b.cookies[api.ConsoleCookie]
		res := b.send("POST", "/logout", c.header)
		if c.ok {
			if res.Code != http.StatusNoContent || w.lives(secret) {
				t.Errorf("%s: %d, lives: %v", name, res.Code, w.lives(secret))
			}
			continue
		}
		want(t, name, res, 403, "cross_site")
		if !w.lives(secret) {
			t.Errorf("%s: the person is logged out", name)
		}
	}
	if res := w.browser().send("POST", "/logout", http.Header{"Sec-Fetch-Site": {"same-origin"}}); res.Code != http.StatusNoContent {
		t.Errorf("nobody logged in: %d", res.Code)
	}
	want(t, "by a link", w.browser().get("/logout"), 405, "method")
}

// A provider ends its own sessions, and what is no logout token ends none.
func TestProviderLogout(t *testing.T) {
	idp := &bent{finish: func(_ context.Context, f *oidc.Facts) error { f.SID = "sid-of-" + f.Name; return nil }}
	w := newWorldWith(t, func(w *world, c *server.Config) {
		idp.Provider = c.Providers[0]
		c.Providers = []server.Provider{idp, w.provider("partner")}
	})
	idp.logout = func(token string) (oidc.LogoutFacts, error) {
		switch token {
		case "by sid":
			return oidc.LogoutFacts{SID: "sid-of-alice"}, nil
		case "by subject":
			return oidc.LogoutFacts{Subject: "alice"}, nil
		case "nobody":
			return oidc.LogoutFacts{Subject: "zoe"}, nil
		case "of nobody and nothing": // no logout that can be carried out
			return oidc.LogoutFacts{}, nil
		case "down":
			return oidc.LogoutFacts{}, fmt.Errorf("%w: keys", oidc.ErrUnavailable)
		}
		return oidc.LogoutFacts{}, fmt.Errorf("%w: secret words", oidc.ErrProof)
	}
	send := func(path, body string, kind string) *httptest.ResponseRecorder {
		return w.do(ask{method: "POST", path: path, body: body, header: http.Header{"Content-Type": {kind}}, remote: "198.51.100.7:1"})
	}
	const form = "application/x-www-form-urlencoded"
	for _, token := range []string{"by sid", "by subject"} {
		w.pass(time.Minute)
		alice, bob, partner := w.browser(), w.browser(), w.browser()
		alice.login("/login?idp=idp", "alice")
		bob.login("/login?idp=idp", "bob")
		partner.login("/login?idp=partner", "alice")
		command := w.session("alice", "support")
		for name, c := range map[string]struct{ body, kind, code string }{
			"a bad token":      {"logout_token=bad", form, "invalid_request"},
			"no token":         {"", form, "invalid_request"},
			"an empty token":   {"logout_token=", form, "invalid_request"},
			"two tokens":       {"logout_token=by+sid&logout_token=by+sid", form, "invalid_request"},
			"JSON":             {`{"logout_token":"by sid"}`, "application/json", "invalid_request"},
			"too long":         {"logout_token=" + strings.Repeat("a", 70_000), form, "invalid_request"},
			"keys not at hand": {"logout_token=down", form, "server_error"},
			"not to be done":   {"logout_token=of+nobody+and+nothing", form, "server_error"},
		} {
			res := send("/oidc/idp/logout", c.body, c.kind)
			if got := read[api.LogoutError](t, res, 400); got.Error != c.code || strings.Contains(got.Description, "secret words") || res.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if idp.undone != 1 {
			t.Errorf("of one logout that failed %d may be tried again", idp.undone)
		}
		idp.undone = 0
		want(t, "another's address", send("/oidc/nobody/logout", "logout_token="+url.QueryEscape(token), form), 404, "no_route")
		want(t, "by a link", alice.get("/oidc/idp/logout?logout_token="+url.QueryEscape(token)), 405, "method")
		res := send("/oidc/idp/logout?logout_token=by+sid", "x=y", form)
		if got := read[api.LogoutError](t, res, 400); got.Error != "invalid_request" {
			t.Errorf("in the query: %+v", got)
		}
		if res := send("/oidc/idp/logout", "logout_token=nobody", form); res.Code != 200 || res.Body.Len() != 0 {
			t.Errorf("nobody logged in: %d %s", res.Code, res.Body)
		}
		if !w.lives(alice.cookies[api.ConsoleCookie]) {
			t.Fatal("alice is logged out")
		}
		if res := send("/oidc/idp/logout", "logout_token="+url.QueryEscape(token), form); res.Code != 200 || res.Body.Len() != 0 || res.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("logout: %d %s", res.Code, res.Body)
		}
		if w.lives(alice.cookies[api.ConsoleCookie]) || !w.lives(bob.cookies[api.ConsoleCookie]) || !w.lives(partner.cookies[api.ConsoleCookie]) {
			t.Errorf("%s: alice %v, bob %v, alice of the partner %v", token, w.lives(alice.cookies[api.ConsoleCookie]), w.lives(bob.cookies[api.ConsoleCookie]), w.lives(partner.cookies[api.ConsoleCookie]))
		}
		if ended := w.do(ask{method: "GET", path: "/api/v1/whoami", session: command}).Code == 401; ended != (token == "by subject") {
			t.Errorf("%s: the command's session has ended: %v", token, ended)
		}
	}
	// Many good ones pass; many bad ones are slowed down.
	for range 100 {
		if res := send("/oidc/idp/logout", "logout_token=nobody", form); res.Code != 200 {
			t.Fatalf("a good token: %d", res.Code)
		}
	}
	asked, refuse := 0, idp.logout
	idp.logout = func(token string) (oidc.LogoutFacts, error) { asked++; return refuse(token) }
	for range 60 {
		send("/oidc/idp/logout", "logout_token=bad", form)
	}
	if asked > 40 {
		t.Errorf("%d of 60 bad tokens were looked at", asked)
	}
	want(t, "many bad ones", send("/oidc/idp/logout", "logout_token=bad", form), 429, "rate_limited")
}

// Who cannot be logged in sees a page that says why and what to do next.
func TestPagesOfProblems(t *testing.T) {
	idp := &bent{}
	w := newWorldWith(t, func(_ *world, c *server.Config) {
		idp.Provider = c.Providers[0]
		c.Providers, c.Pages = []server.Provider{idp}, drawn{}
	})
	b := w.browser()
	for name, err := range map[string]error{"down": oidc.ErrUnavailable, "slow": context.DeadlineExceeded} {
		idp.begin = fmt.Errorf("%w: secret words", err)
		res := b.get("/login?return=/ask")
		page(t, name, res, 503, "load this page again")
		if strings.Contains(res.Body.String(), "secret words") || res.Header().Get("Retry-After") == "" || len(b.cookies) > 0 {
			t.Errorf("%s: %s %v", name, res.Body, res.Header())
		}
	}
	idp.begin = nil
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"down afterwards": {fmt.Errorf("%w: secret words", oidc.ErrUnavailable), 503, "does not answer"},
		"slow afterwards": {context.DeadlineExceeded, 503, "does not answer"},
		"not proven":      {oidc.ErrProof, 403, "does not prove"},
		"unknown":         {errors.New("secret words"), 403, "does not prove"},
	} {
		idp.finish = func(ctx context.Context, _ *oidc.Facts) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("a provider may take for ever")
			}
			return c.err
		}
		res := b.get(b.answer("/login", "alice"))
		page(t, name, res, c.status, c.says)
		if strings.Contains(res.Body.String(), "secret words") || b.cookies[api.ConsoleCookie] != "" || !strings.Contains(res.Body.String(), "/login") {
			t.Errorf("%s: %s", name, res.Body)
		}
		page(t, name+", for an app", b.get(b.answer(appLogin("reports", "reports.acme.example", hashOf("x")), "alice")), c.status, "open https://reports.acme.example again")
	}
	idp.finish = nil
	page(t, "cancelled", b.get(b.answer("/login", "")), 403, "refused")
	page(t, "not begun", b.get("/oidc/idp/callback?code=x&state="+hashOf("x")), 401, "not begun in this browser")
	page(t, "no provider", b.get("/login?idp=other"), 400, "choose one of idp")
	page(t, "posting", b.send("POST", "/login", nil), 405, "does not take")
	want(t, "the API", b.get("/api/v1/nothing"), 404, "no_route")
	want(t, "the API, not logged in", b.get("/api/v1/whoami"), 401, "no_session")
}

// With several providers a person says which; the rest of the address stays.
func TestChooseProvider(t *testing.T) {
	several := func(w *world, c *server.Config) { c.Providers = append(c.Providers, w.provider("partner")) }
	w := newWorldWith(t, func(w *world, c *server.Config) { several(w, c); c.Pages = drawn{} })
	for _, start := range []string{"/login?return=%2Fask", commandLogin, appLogin("reports", "reports.acme.example", hashOf("x"))} {
		b := w.browser()
		res := b.get(start)
		links := strings.Fields(res.Body.String())
		if res.Code != 200 || len(links) != 2 || !strings.Contains(links[0], "idp=idp") || !strings.Contains(links[1], "idp=partner") || len(b.cookies) > 0 {
			t.Fatalf("%s: %d %s", start, res.Code, res.Body)
		}
		if to := b.login(links[1], "alice"); strings.HasPrefix(start, "/login?return") && to != "/ask" {
			t.Errorf("sent to %s", to)
		}
		if secret := b.cookies[api.ConsoleCookie]; secret != "" {
			session, err := w.Session(t.Context(), access.SessionConsole, access.ParseSessionSecret(secret))
			check(t, err)
			if session.Principal.String() != "user:partner:alice" {
				t.Errorf("logged in as %s", session.Principal)
			}
		}
	}
	plain := newWorldWith(t, several)
	if p := problem(t, plain.browser().get("/login")); p.Status != 400 || strings.Join(p.Allowed, " ") != "idp partner" {
		t.Errorf("without pages: %+v", p)
	}
}

// Nothing that proves a login can be read from the database while it is under way.
func TestLoginsUnderWayAreSealed(t *testing.T) {
	idp := &bent{finish: func(_ context.Context, f *oidc.Facts) error {
		f.Refresh, f.SID = oidc.NewSecret("refresh-token-of-alice"), "sid-of-alice"
		return nil
	}}
	w := newWorldWith(t, func(_ *world, c *server.Config) {
		idp.Provider = c.Providers[0]
		c.Providers = []server.Provider{idp}
	})
	b := w.browser()
	answer := b.answer(commandLogin, "alice")
	b.answer("/login?return=/ask-for-something", "alice")
	ask := b.asked(b.get(answer)) // what the provider proved waits for the person now
	waiting := w.stored()
	to, err := url.Parse(b.confirm(ask.Token, "continue", ownPage()).Header().Get("Location"))
	check(t, err)
	all := append(waiting, w.stored()...)
	if !bytes.Contains(all, []byte("stripe/refunds")) {
		t.Fatal("this is not the database")
	}
	for _, text := range []string{"refresh-token-of-alice", base64.StdEncoding.EncodeToString([]byte("refresh-token-of-alice")), kept, "ask-for-something", b.cookies["__Host-mayfly-oidc"], to.Query().Get("code"), ask.Token, "verifier"} {
		if bytes.Contains(all, []byte(text)) {
			t.Errorf("the database tells %q", text)
		}
	}
}

// stored returns everything that lies in the files of the database.
func (w *world) stored() (all []byte) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "mayfly.db*"))
	check(w.t, err)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		check(w.t, err)
		all = append(all, raw...)
	}
	return all
}
