package integration

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/provider"
)

// loginPage answers the login page of a provider as one of its people.
type loginPage func(t testing.TB, tab *browser.Tab, who string)

func devLogin(t testing.TB, tab *browser.Tab, who string) {
	t.Helper()
	tab.WaitText("Development login")
	tab.Follow(who)
}

// browse opens a Chromium of somebody's own.
func (p *product) browse(t testing.TB) *browser.Browser {
	t.Helper()
	gateway, _, err := net.SplitHostPort(p.gw.People)
	if err != nil {
		t.Fatal(err)
	}
	return browser.New(t, browser.Config{Roots: p.CA.Roots(), Resolve: map[string]string{env.WikiHost: gateway, "localhost": "127.0.0.1"}})
}

// console logs somebody in at the console, in a browser of their own.
func (p *product) console(t testing.TB, who string) *browser.Browser {
	t.Helper()
	b := p.browse(t)
	b.Open(p.Public + "/login?idp=idp")
	devLogin(t, b.Tab, who)
	b.WaitURL(p.Public + "/")
	return b
}

// wikiWaits has policy let nobody read the wiki without a word of somebody, until
// the test ends.
func (p *product) wikiWaits(t testing.TB) {
	t.Helper()
	const file = "entitlements/wiki/read.yaml"
	before := p.Files()[file]
	p.policy(t, map[string]string{file: strings.Replace(before, "duration('30m')", "duration('1s')", 1)})
	t.Cleanup(func() { p.policy(t, map[string]string{file: before}) })
}

// policy commits files and waits until they are in force.
func (p *product) policy(t testing.TB, files map[string]string) {
	t.Helper()
	commit, err := p.Policy.Commit("Change", files)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the policy is in force", func() error {
		who, err := p.bob.Whoami(context.WithoutCancel(t.Context()))
		if err == nil && who.Policy.Commit != commit {
			err = errNotYet
		}
		return err
	})
}

// shown are the headers that the wiki was given, as it says them.
func shown(t testing.TB, tab *browser.Tab) http.Header {
	t.Helper()
	var h http.Header
	if err := json.Unmarshal([]byte(tab.Text()), &h); err != nil {
		t.Fatalf("the wiki shows %q: %v", tab.Text(), err)
	}
	return h
}

func TestBrowserFromRefusalToWorkAndBack(t *testing.T) {
	p := theProduct(t)
	p.wikiWaits(t)
	walk(t, p, devLogin, "alice", "user:idp:3f1c7a52", "alice@acme.example")
}

// walk is a person's whole way: log in, be refused, ask from the denial page, be
// approved in another browser, go on to the app, work, be refused at the end.
func walk(t *testing.T, p *product, login loginPage, who, account, email string) {
	page := p.App(env.WikiHost, "/team/plan?week=48")
	alice := p.browse(t)
	alice.Open(page)
	login(t, alice.Tab, who)
	alice.WaitText("No access has been granted")
	if alice.Status() != http.StatusForbidden || alice.URL() != page {
		t.Fatalf("refused with %d at %s", alice.Status(), alice.URL())
	}
	for _, want := range []string{"wiki/read", "http.get /team/plan", account, "no_grant"} {
		if !strings.Contains(alice.Text(), want) {
			t.Errorf("the denial page does not say %q:\n%s", want, alice.Text())
		}
	}
	alice.Follow("Request access")
	alice.WaitText("Ask for wiki/read")
	if alice.Value("Other duration, such as 45 min") != "" {
		t.Error("the form is not as it should begin")
	}
	alice.Fill("Other duration, such as 45 min", "20 s")
	alice.Click(`input[name="duration"][value="other"]`)
	alice.Follow("Ask for access")
	alice.WaitText("This page follows it")
	request := alice.URL()
	id := request[strings.Index(request, "req_"):]
	id, _, _ = strings.Cut(id, "?")

	bob := p.console(t, "bob")
	bob.Open(p.Public + "/waiting")
	bob.WaitText("wiki/read")
	bob.Open(p.Public + "/requests/" + id)
	for _, want := range []string{"http.get", "20"} {
		if !strings.Contains(bob.Text(), want) {
			t.Errorf("the offer does not say %q:\n%s", want, bob.Text())
		}
	}
	bob.Click("Approve for 20 s")

	// Her page follows it, and leads on to where she was going.
	alice.WaitURL(page)
	given := shown(t, alice.Tab)
	if given.Get("X-Auth-User") != account || given.Get("X-Auth-Email") != email || !strings.Contains(given.Get("X-Auth-Groups"), "support") {
		t.Errorf("the app is told %v", given)
	}
	if c := given.Get("Cookie"); strings.Contains(strings.ToLower(c), "mayfly") {
		t.Errorf("the app sees the cookie %s", c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := env.Eventually(ctx, "her time runs out", func() error {
		if alice.Open(page) != http.StatusForbidden {
			return errNotYet
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	alice.WaitText("The access has ended")
	alice.Clean("status of 403")
	bob.Clean()
}

func TestBrowserLogoutCutsAtTheNextRequest(t *testing.T) {
	p := theProduct(t)
	page := p.App(env.WikiHost, "/team")
	for _, c := range []struct {
		name string
		out  func(t *testing.T, b *browser.Browser)
	}{
		{"on the host", func(t *testing.T, b *browser.Browser) {
			b.Open(p.App(env.WikiHost, "/.mayfly/logout"))
			b.Follow("Log out")
			b.WaitText("Logged out of wiki")
		}},
		{"at the console", func(t *testing.T, b *browser.Browser) {
			tab := b.NewTab()
			tab.Open(p.Public + "/")
			tab.Follow("Log out")
			tab.WaitText("Your login has ended")
			tab.Clean()
		}},
		{"at the provider", func(t *testing.T, _ *browser.Browser) {
			if err := p.IdP.Logout(t.Context(), "carol"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := p.browse(t)
			b.Open(page)
			devLogin(t, b.Tab, "carol")
			b.WaitText("carol@acme.example")
			held, ok := b.Cookie(env.WikiHost, "__Host-mayfly")
			if !ok {
				t.Fatal("she holds no session")
			}
			c.out(t, b)
			v, err := p.NewVisitor(p.gw)
			if err != nil {
				t.Fatal(err)
			}
			before := len(p.Wiki.Arrivals())
			eventually(t, "the session that she held is over", func() error {
				a, err := v.Look(t.Context(), "GET", page, http.Header{"Cookie": {"__Host-mayfly=" + held.Value}, "Sec-Fetch-Mode": {"cors"}, "Accept": {"*/*"}}, nil)
				if err == nil && a.Status != http.StatusUnauthorized {
					err = errNotYet
				}
				return err
			})
			if n := len(p.Wiki.Arrivals()); n != before {
				t.Errorf("%d requests reached the app after the logout", n-before)
			}
			if c.name != "on the host" { // there the console's login lives on, and opens the host again
				b.Open(page)
				b.WaitText("Development login")
			}
		})
	}
}

func TestBrowserWithAnotherProvider(t *testing.T) {
	theProduct(t) // its Envoy and stripe-mock are there
	var node *provider.Provider
	p, err := startWith(env.Config{Providers: func(ctx context.Context, e *env.Env) (lines []string, err error) {
		account := func(name string, groups ...string) map[string]any {
			return map[string]any{"email": name + "@acme.example", "email_verified": true, "name": name, "groups": groups}
		}
		node, err = provider.Launch(ctx, provider.Config{
			Clients:  []provider.Client{{ID: "mayfly", Redirects: []string{e.Public + "/oidc/node/callback"}, BackChannel: e.Public + "/oidc/node/logout"}},
			Accounts: map[string]map[string]any{"alice": account("alice", "/support"), "bob": account("bob", "/payments-leads", "/security")},
			Roots:    e.RootsFile(),
		})
		if err != nil {
			return nil, err
		}
		return []string{"{name: node, issuer: \"" + node.Issuer() + "\", client_id: mayfly, groups_strip_slash: true}"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := firstOf(p.stop(), node.Close()); err != nil {
			t.Error(err)
		}
	})
	p.policy(t, map[string]string{"entitlements/wiki/read.yaml": `entitlement: wiki/read
owner: team-docs
app: wiki
allow:
  - {operations: [http.get, http.head]}
grant: {max: 8h, default: 30m}
request: {who: [group:node/support], for: [self], justification: none}
approve: {steps: [{any: [group:idp/payments-leads], count: 1, within: 4h}]}
`})
	login := func(t testing.TB, tab *browser.Tab, who string) {
		tab.WaitText("node") // two providers: choose one
		tab.Follow("node")
		node.Login(t, tab, who)
	}
	walk(t, p, login, "alice", "user:node:alice", "alice@acme.example")

	// Its own back-channel logout ends the session too.
	b := p.browse(t)
	page := p.App(env.WikiHost, "/team")
	b.Open(page)
	login(t, b.Tab, "alice")
	b.WaitText("The access has ended")
	if told, err := node.EndSessions(t.Context(), "alice"); err != nil || len(told) == 0 {
		t.Fatal(told, err)
	}
	eventually(t, "she must log in again", func() error {
		b.Open(page)
		if !strings.Contains(b.Text(), "node") || strings.Contains(b.Text(), "ended") {
			return errNotYet
		}
		return nil
	})
}

func TestADisabledPersonLosesALiveGrantWithinTheAgeAndTheLease(t *testing.T) {
	theProduct(t)
	const age, lease = 2 * time.Second, 5 * time.Second // stale_after of the wiki
	p, err := startWith(env.Config{IdentityMaxAge: age})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, page := t.Context(), p.App(env.WikiHost, "/team")
	alice, err := p.Person(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Grant(ctx, alice, nil, api.Ask{Entitlement: "wiki/read"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.NewVisitor(p.gw)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := v.Login(ctx, page, "alice"); err != nil || a.Status != http.StatusOK {
		t.Fatal(a.Status, a.Text, err)
	}
	// Her provider stands for her: she is asked about again and again, and works on.
	for until := time.Now().Add(2 * age); time.Now().Before(until); {
		if a, err := v.Look(ctx, "GET", page, nil, nil); err != nil || a.Status != http.StatusOK {
			t.Fatalf("while nothing has happened: %d %s %v", a.Status, a.Text, err)
		}
	}
	p.IdP.RemoveUser("alice")
	disabled := time.Now()
	eventually(t, "she is refused", func() error {
		a, err := v.Look(ctx, "GET", page, nil, nil)
		if err == nil && a.Status == http.StatusOK {
			err = errNotYet
		}
		return err
	})
	took := time.Since(disabled)
	t.Logf("refused %s after the provider stopped standing for her", took.Round(time.Millisecond))
	if took > age+lease {
		t.Errorf("it took %s, want at most %s", took, age+lease)
	}
	after := len(p.Wiki.Arrivals())
	_, _ = v.Look(ctx, "GET", page, nil, nil)
	if n := len(p.Wiki.Arrivals()); n != after {
		t.Error("a request reached the app afterwards")
	}
	eventually(t, "the end of her grant is on record", func() error {
		got, err := p.bob.Grants(ctx, api.GrantsQuery{Everyone: true, All: true})
		if err != nil {
			return err
		}
		for _, one := range got.Items {
			if one.ID == g.ID && one.State == "revoked" {
				return nil
			}
		}
		return errNotYet
	})
}
