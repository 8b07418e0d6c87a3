package integration

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/env"
)

// shownPage is one page of the console or of a gateway.
type shownPage struct {
	name string // of its pictures
	// open brings somebody to it, with things on it to be seen. The pages are opened
	// in their order: one may go on from where another ended.
	open func(*stage) *browser.Tab
	says []string // what must stand on it
	dark bool     // it is pictured in the dark too
}

// stage is a product where people are in the middle of their work.
type stage struct {
	*product
	t                 testing.TB
	alice, bob, carol *browser.Browser
	asks              *api.Client // alice, at the command line

	request, grant string // of alice, for the wiki
	denial         string // her first
}

// plan is where alice is going when she is refused.
const plan = "/team/plan?week=48"

// newStage starts a product of its own: these people's pages show nobody else's
// work, and a second provider to choose from, which nobody ever asks.
func newStage(t testing.TB) *stage {
	theProduct(t) // its Envoy and stripe-mock are there
	p, err := startWith(env.Config{Providers: func(context.Context, *env.Env) ([]string, error) {
		return []string{`{name: partners, issuer: "https://127.0.0.1:9", client_id: mayfly}`}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	below := strings.NewReplacer("duration('30m')", "duration('15m')", "]}\nsensitivity", "], where: {path: {under: /team}}}\nsensitivity")
	files := map[string]string{}
	for _, name := range []string{"entitlements/wiki/read.yaml", "entitlements/wiki/write.yaml"} {
		files[name] = below.Replace(p.Files()[name])
	}
	p.policy(t, files)
	s := &stage{product: p, t: t}
	if s.asks, err = p.Person(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask asks for access at the command line.
func (s *stage) ask(who *api.Client, ask api.Ask) api.Request {
	s.t.Helper()
	r, err := who.Request(s.t.Context(), ask, api.NewKey())
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// stagePages are the pages, in the order in which they are opened.
func stagePages() []shownPage {
	return append(append(gatewayFirst(), consolePages()...), gatewayLast()...)
}

// gatewayFirst are alice's first steps: she is sent to log in, and refused.
func gatewayFirst() []shownPage {
	return []shownPage{
		{name: "choose", says: []string{"Log in", "Where is your account?", "idp", "partners"}, open: func(s *stage) *browser.Tab {
			s.alice = s.browse(s.t)
			s.alice.Open(s.App(env.WikiHost, plan))
			return s.alice.Tab
		}},
		{name: "denial", dark: true, says: []string{"No access has been granted", "wiki/read", "Request access", "no_grant", "alice@acme.example"}, open: func(s *stage) *browser.Tab {
			s.alice.Follow("idp")
			devLogin(s.t, s.alice.Tab, "alice")
			s.alice.WaitText("den_")
			_, s.denial, _ = strings.Cut(s.alice.Text(), "den_")
			s.denial = "den_" + strings.Fields(s.denial)[0]
			return s.alice.Tab
		}},
	}
}

// consolePages are the pages of the console, from asking to the trace.
func consolePages() []shownPage {
	return []shownPage{
		{name: "ask", says: []string{"Ask for access", "wiki/read", "wiki/write", "stripe/refunds"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.Public + "/ask")
			return s.alice.Tab
		}},
		{name: "ask-form", says: []string{"Ask for stripe/refunds", "Amount max", "One approval", "payments-leads", "amount at most 5000", "from the approval"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.Public + "/ask?entitlement=stripe/refunds&param.charge=ch_3PqXk2&param.amount_max=5000&duration=30m")
			s.alice.Fill("#reason", "Order 4711 arrived broken")
			s.alice.WaitNoText("Write the reason, too")
			return s.alice.Tab
		}},
		{name: "ask-refused", says: []string{"Ask for wiki/read", "For how long", "15 min would be granted at once"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.App(env.WikiHost, plan))
			s.alice.Follow("Request access")
			return s.alice.Tab
		}},
		{name: "request-pending", says: []string{"wiki/read", "pending", "This page follows it", "Withdraw this request", env.WikiHost}, open: func(s *stage) *browser.Tab {
			s.alice.Fill("#reason", "Plan for week 48")
			s.alice.Follow("Ask for access")
			s.alice.WaitText("This page follows it")
			_, s.request, _ = strings.Cut(s.alice.URL(), "/requests/")
			s.request, _, _ = strings.Cut(s.request, "?")
			return s.alice.Tab
		}},
		{name: "waiting", says: []string{"Waiting for you", "wiki/read", "stripe/refunds", "Plan for week 48", "alice@acme.example"}, open: func(s *stage) *browser.Tab {
			s.ask(s.asks, api.Ask{
				Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_3PqXk2", "amount_max": "5000"}, Duration: "30m", Reason: "Order 4711 arrived broken",
			})
			s.bob = s.console(s.t, "bob")
			s.bob.Open(s.Public + "/waiting")
			return s.bob.Tab
		}},
		{name: "request-decide", says: []string{"You may decide on this", "What is offered", "http.get", "Plan for week 48", "Approve for 30 min", "Deny"}, open: func(s *stage) *browser.Tab {
			s.bob.Open(s.Public + "/requests/" + s.request)
			return s.bob.Tab
		}},
		{name: "request-approved", says: []string{"Access granted", "Continue to " + env.WikiHost, "Ends in"}, open: func(s *stage) *browser.Tab {
			s.bob.Follow("Approve for 30 min")
			s.alice.WaitText("Access granted")
			browser.Eval[bool](s.alice.Tab, `(() => { for (let i = 1; i < 1e4; i++) clearTimeout(i); return true })()`) // else she goes on by herself
			return s.alice.Tab
		}},
		{name: "grant", says: []string{"wiki/read", "active", "Ends in", "Finish now", "http.get"}, open: func(s *stage) *browser.Tab {
			s.alice.Follow("Details")
			_, s.grant, _ = strings.Cut(s.alice.URL(), "/grants/")
			return s.alice.Tab
		}},
		{name: "grant-finished", says: []string{"finished", "Every gateway has heard", "acknowledged", "its holder finished it"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.App(env.WikiHost, plan)) // so that something was allowed last
			s.Shipped(s.t)
			s.alice.Open(s.Public + "/grants/" + s.grant)
			s.alice.Follow("Finish now")
			s.alice.WaitText("Every gateway has heard")
			return s.alice.Tab
		}},
		{name: "trace", says: []string{"Trace of wiki/write", "http.post", "http.put", "Access finished by its holder", " allowed"}, open: (*stage).traced},
		{name: "trace-denial", says: []string{"Trace", "http.get", "no_grant", "1 denied"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.Public + "/trace/" + s.denial)
			return s.alice.Tab
		}},
		{name: "trace-find", says: []string{"Any id will do"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.Public + "/trace")
			return s.alice.Tab
		}},
		{name: "explain", says: []string{"Why wiki/read is", "the decision is the same"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.Public + "/explain/" + s.request)
			return s.alice.Tab
		}},
		{name: "nodes", says: []string{"Nodes", env.SidecarID, "fresh", "connected"}, open: func(s *stage) *browser.Tab {
			s.bob.Open(s.Public + "/nodes")
			return s.bob.Tab
		}},
		{name: "passkey", dark: true, says: []string{"Make a passkey"}, open: func(s *stage) *browser.Tab {
			s.bob.Authenticator(true)
			s.bob.Open(s.Public + "/")
			s.bob.Follow("A passkey for approvals")
			return s.bob.Tab
		}},
		{name: "passkey-made", says: []string{"Put this line into policy", "passkey:"}, open: func(s *stage) *browser.Tab {
			s.bob.Follow("Make a passkey")
			return s.bob.Tab
		}},
		{name: "workloads", says: []string{"Workloads", "unknown", "Of team-data", "no_grant", "never at a gateway"}, open: func(s *stage) *browser.Tab {
			s.called()
			s.bob.Open(s.Public + "/workloads")
			return s.bob.Tab
		}},
		{name: "home", dark: true, says: []string{"1 request waits for your approval", "In force now", "Ends in", "Waiting for a decision"}, open: (*stage).home},
		{name: "problem", says: []string{"Not found", "no_route", "To your access"}, open: func(s *stage) *browser.Tab {
			s.carol.Open(s.Public + "/nowhere")
			return s.carol.Tab
		}},
		{name: "send-again", says: []string{"Log in again", "nothing was done", "Send again"}, open: func(s *stage) *browser.Tab {
			s.carol.Open(s.Public + "/ask?entitlement=wiki/write")
			s.carol.Fill("#reason", "New plan")
			s.carol.ClearCookies()
			s.carol.Follow("Ask for access")
			return s.carol.Tab
		}},
		{name: "logged-out", says: []string{"Logged out", "Your login has ended", "Log in"}, open: func(s *stage) *browser.Tab {
			s.bob.Open(s.Public + "/")
			s.bob.Follow("Log out")
			return s.bob.Tab
		}},
	}
}

// Shipped waits until what the gateway has decided is on record.
func (s *stage) Shipped(t testing.TB) {
	t.Helper()
	if err := s.gw.Shipped(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// traced is the trace of access that was used, not always as it allows, and
// given back.
func (s *stage) traced() *browser.Tab {
	s.t.Helper()
	g, err := s.Grant(s.t.Context(), s.asks, s.product.bob, api.Ask{Entitlement: "wiki/write", Duration: "10s", Reason: "New plan for week 48"})
	if err != nil {
		s.t.Fatal(err)
	}
	passes := func() error {
		if s.alice.Open(s.App(env.WikiHost, plan)) != http.StatusOK {
			return errNotYet
		}
		return nil
	}
	eventually(s.t, "she gets in", passes)
	for _, method := range []string{"GET", "POST", "GET", "PUT", "GET"} {
		browser.Eval[int](s.alice.Tab, `new Promise((done) => setTimeout(done, 250)).then(() => fetch('/team/plan', {method: '`+method+`'})).then((a) => a.status)`)
	}
	// A gateway's clock is never late, so it may be ahead by as long as an answer took.
	browser.Eval[bool](s.alice.Tab, `new Promise((done) => setTimeout(done, 1200)).then(() => true)`)
	if _, err := s.asks.Finish(s.t.Context(), g.ID); err != nil {
		s.t.Fatal(err)
	}
	s.Shipped(s.t)
	s.alice.Forget() // the refusals were meant
	s.alice.Open(s.Public + "/trace/" + g.ID)
	return s.alice.Tab
}

// home is carol's first page, with something of everything.
func (s *stage) home() *browser.Tab {
	s.t.Helper()
	carol, err := s.Person(s.t.Context(), "carol")
	if err != nil {
		s.t.Fatal(err)
	}
	s.ask(carol, api.Ask{Entitlement: "wiki/read", Duration: "15m"})
	s.ask(carol, api.Ask{
		Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_3PqYz7", "amount_max": "1200"}, Duration: "30m", Reason: "Order 4712 came twice",
	})
	s.carol = s.console(s.t, "carol")
	return s.carol.Tab
}

// gatewayLast are the pages on which a gateway refuses, and says goodbye.
func gatewayLast() []shownPage {
	return []shownPage{
		{name: "denial-ended", says: []string{"The access has ended", "wiki/read", "Request access"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.App(env.WikiHost, plan))
			return s.alice.Tab
		}},
		{name: "denial-nothing", says: []string{"No access has been granted", "No entitlement covers this"}, open: func(s *stage) *browser.Tab {
			s.bob = s.browse(s.t)
			s.bob.Open(s.App(env.WikiHost, plan))
			s.bob.Follow("idp")
			devLogin(s.t, s.bob.Tab, "bob")
			s.bob.WaitText("No access has been granted")
			s.readsNothing()
			eventually(s.t, "nothing lets anybody read", func() error {
				if s.bob.Open(s.App(env.WikiHost, plan)); !strings.Contains(s.bob.Text(), "No entitlement covers this") {
					return errNotYet
				}
				return nil
			})
			return s.bob.Tab
		}},
		{name: "login-again", says: []string{"Start again"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.App(env.WikiHost, "/.mayfly/callback?code=x&state="+strings.Repeat("A", 43)))
			return s.alice.Tab
		}},
		{name: "cross-site", says: []string{"another site", "cross_site"}, open: func(s *stage) *browser.Tab {
			s.alice.Open("about:blank")
			browser.Eval[bool](s.alice.Tab, `(() => { const f = document.createElement('form'); f.method = 'post'; f.action = '`+s.App(env.WikiHost, "/team")+`'; document.body.append(f); f.submit(); return true })()`)
			s.alice.WaitURL(s.App(env.WikiHost, "/team"))
			return s.alice.Tab
		}},
		{name: "app-logout", says: []string{"Log out of wiki", "Stay logged in"}, open: func(s *stage) *browser.Tab {
			s.alice.Open(s.App(env.WikiHost, "/.mayfly/logout"))
			return s.alice.Tab
		}},
		{name: "app-logged-out", says: []string{"Logged out of wiki", "Log out everywhere", "Log in again"}, open: func(s *stage) *browser.Tab {
			s.alice.Follow("Log out")
			return s.alice.Tab
		}},
	}
}

// readsNothing has policy offer nobody to read the wiki.
func (s *stage) readsNothing() {
	s.t.Helper()
	none := strings.NewReplacer("[http.get, http.head]", "[http.head]", "[http.get, http.head, http.post", "[http.post")
	files := map[string]string{}
	for _, name := range []string{"entitlements/wiki/read.yaml", "entitlements/wiki/write.yaml"} {
		files[name] = none.Replace(s.Files()[name])
	}
	s.policy(s.t, files)
}

// Every page says what it is for, fits a telephone, keeps nobody out, and gives
// the browser nothing to complain of.
func TestBrowserPages(t *testing.T) {
	s := newStage(t)
	for _, one := range stagePages() {
		tab := one.open(s)
		for _, text := range one.says {
			tab.WaitText(text)
		}
		tab.Clean()
		tab.NoSidewaysScroll(320, 390, 1280)
		tab.NoAxeFindings()
		tab.Forget()
	}
}

// The whole way without a script: ask, see that it waits, be approved, go on.
func TestBrowserWithoutScripts(t *testing.T) {
	p := theProduct(t)
	p.wikiWaits(t)
	gateway, _, err := net.SplitHostPort(p.gw.People)
	if err != nil {
		t.Fatal(err)
	}
	b := browser.New(t, browser.Config{
		Roots: p.CA.Roots(), Resolve: map[string]string{env.WikiHost: gateway, "localhost": "127.0.0.1"}, NoJavaScript: true,
	})
	page := p.App(env.WikiHost, plan)
	b.Open(page)
	devLogin(t, b.Tab, "carol")
	b.Follow("Request access")
	b.Follow("Ask for access")
	b.WaitText("This page follows it")
	address := b.URL()
	_, id, _ := strings.Cut(address, "/requests/")
	id, _, _ = strings.Cut(id, "?")
	r, err := p.bob.ShowRequest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = p.bob.Approve(t.Context(), id, api.Verdict{OfferSHA256: r.Offer.SHA256}); err != nil {
		t.Fatal(err)
	}
	b.Open(address)
	b.WaitText("Continue to " + env.WikiHost)
	b.WaitURL(page) // the page itself leads on, after a moment
	if got := shown(t, b.Tab).Get("X-Auth-Email"); got != "carol@acme.example" {
		t.Errorf("the app is told %q", got)
	}
	b.Clean()
	carol, err := p.Person(t.Context(), "carol")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := carol.Finish(t.Context(), r.Grant); err != nil {
		t.Fatal(err)
	}
}
