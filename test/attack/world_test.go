package attack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// forged is what attackers write into the headers that tell apps who calls.
const forged = "root"

const (
	alice = "user:idp:" + dev.AliceSubject
	carol = "user:idp:" + dev.CarolSubject
)

// identityAge is short enough for a test to see a provider asked again.
const identityAge = 9 * time.Second

// world is a running product with two apps for people, wiki and board, of which the
// board takes services too, and two identity providers, idp and other, which prove
// different accounts. Alice may read both and write the wiki.
type world struct {
	*env.Env
	gw    *env.Gateway
	board *env.Recorder
	other *dev.IdP
	alice *api.Client
	bob   *api.Client // payments-leads and security
	stop  func() error
}

var started = sync.OnceValues(startWorld)

// envoyPath is set before the first use of started.
var envoyPath string

// theWorld returns the running product, or ends the test.
func theWorld(t testing.TB) *world {
	t.Helper()
	b, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: "../../.cache/envoy/envoy"})
	if err == nil {
		envoyPath, err = filepath.Abs(b.Path)
	}
	if err != nil {
		need.Missing(t, err)
	}
	if env.Tool("bin", "stripe-mock") == "stripe-mock" {
		need.Missing(t, errors.New("no stripe-mock: make tools"))
	}
	w, err := started()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func startWorld() (w *world, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	w = &world{}
	run, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	config := env.Config{Envoy: envoyPath, Federate: true, IdentityMaxAge: identityAge, Providers: func(_ context.Context, e *env.Env) (lines []string, err error) {
		w.other, err = dev.NewIdP(dev.IdPConfig{
			Users:   dev.People(map[string][]string{"alice": {"support"}, "bob": {"security"}, "carol": {"support"}}),
			Clients: []dev.Client{{ID: "mayfly", Redirects: []string{e.Public + "/oidc/other/callback"}}},
		})
		if err != nil {
			return nil, err
		}
		if err := w.other.Listen(); err != nil {
			return nil, err
		}
		go func() {
			defer close(done)
			_ = w.other.Serve(run)
		}()
		return []string{fmt.Sprintf("{name: other, issuer: %q, client_id: mayfly}", w.other.Issuer())}, nil
	}}
	var stop func() error
	if w.Env, stop, err = env.Launch(ctx, config); err != nil {
		end()
		return nil, err
	}
	w.stop = func() error {
		end()
		<-done
		return stop()
	}
	return w, w.furnish(ctx)
}

// furnish adds the board, the gateway, and who may do what.
func (w *world) furnish(ctx context.Context) (err error) {
	if w.board, err = w.Recorder("board"); err != nil {
		return err
	}
	files := w.Files()
	commit, err := w.Policy.Commit("Add the board", map[string]string{
		"mayfly.yaml": strings.Replace(files["mayfly.yaml"], "apps: [stripe, reports, wiki]", "apps: [stripe, reports, wiki, board]", 1),
		"apps/board.yaml": strings.NewReplacer("app: wiki", "app: board", env.WikiHost, env.BoardHost, "callers: [people]", "callers: [people, services, clients]",
			w.Wiki.URL(), w.board.URL()).Replace(files["apps/wiki.yaml"]),
		"entitlements/board/read.yaml": strings.NewReplacer("wiki", "board", "who: [group:idp/support]", fmt.Sprintf("who: [group:idp/support, %q]", env.ReporterID)).
			Replace(files["entitlements/wiki/read.yaml"]),
	})
	if err != nil {
		return err
	}
	if w.bob, err = w.Person(ctx, "bob"); err != nil {
		return err
	}
	if err := env.Eventually(ctx, "the policy is in force", func() error {
		who, err := w.bob.Whoami(ctx)
		if err == nil && who.Policy.Commit != commit {
			err = errors.New("not yet")
		}
		return err
	}); err != nil {
		return err
	}
	if w.gw, err = w.StartGateway(ctx, "gw"); err != nil {
		return err
	}
	if w.alice, err = w.Person(ctx, "alice"); err != nil {
		return err
	}
	for _, ask := range []api.Ask{{Entitlement: "wiki/read"}, {Entitlement: "board/read"}, {Entitlement: "wiki/write", Reason: "order 17"}} {
		if _, err := w.Grant(ctx, w.alice, w.bob, ask); err != nil {
			return fmt.Errorf("%s: %w", ask.Entitlement, err)
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if envoyPath != "" {
		if w, _ := started(); w != nil && w.stop != nil {
			if err := w.stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
	}
	os.Exit(code)
}

// eventually waits for another process: it asks until there is no error.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := env.Eventually(ctx, what, try); err != nil {
		t.Fatal(err)
	}
}

// newcomer makes a user of the provider, who is in group support and may read the
// wiki.
func (w *world) newcomer(t testing.TB, name string, groups ...string) {
	t.Helper()
	if err := w.IdP.SetUser(dev.User{Name: name, Groups: append(groups, "support")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.IdP.RemoveUser(name) })
	client, err := w.Person(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Grant(t.Context(), client, nil, api.Ask{Entitlement: "wiki/read"}); err != nil {
		t.Fatal(err)
	}
}

// ledger holds what reaches the apps during a test against what may.
type ledger struct {
	w      *world
	before map[*env.Recorder]int
	may    []arrival
}

// arrival is a request that may reach an app, and who it says that calls.
type arrival struct{ app, method, path, user string }

// watch begins a ledger, which is checked at the test's end. Nothing may arrive but
// what allow says: once for each time that it says it.
func (w *world) watch(t *testing.T) *ledger {
	l := &ledger{w: w, before: map[*env.Recorder]int{}}
	for _, r := range l.recorders() {
		l.before[r] = len(r.Arrivals())
	}
	t.Cleanup(func() { l.check(t) })
	return l
}

func (l *ledger) recorders() []*env.Recorder {
	return []*env.Recorder{l.w.Wiki, l.w.board, l.w.Reports, l.w.Stripe}
}

func (l *ledger) allow(app, method, path, user string) {
	l.may = append(l.may, arrival{app, method, path, user})
}

// count is how many requests have reached the apps since the ledger began.
func (l *ledger) count() (n int) {
	for _, r := range l.recorders() {
		n += len(r.Arrivals()) - l.before[r]
	}
	return n
}

func (l *ledger) check(t *testing.T) {
	for _, r := range l.recorders() {
		for _, a := range r.Arrivals()[l.before[r]:] {
			got := arrival{a.App, a.Method, a.Path, strings.Join(a.Header.Values("X-Auth-User"), ",")}
			if i := slices.Index(l.may, got); i >= 0 {
				l.may = slices.Delete(l.may, i, i+1)
			} else {
				t.Errorf("it reached the app: %+v", got)
			}
			if strings.Contains(strings.ToLower(a.Header.Get("Cookie")), "mayfly") {
				t.Errorf("%s %s: the app sees the cookie %q", a.Method, a.Path, a.Header.Get("Cookie"))
			}
			for name, values := range a.Header {
				if strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), "X-Auth") && slices.Contains(values, forged) {
					t.Errorf("%s %s: the app is told %s: %q", a.Method, a.Path, name, values)
				}
			}
		}
	}
}

// visitor opens a browser without a screen.
func (w *world) visitor(t testing.TB) *env.Visitor {
	t.Helper()
	v, err := w.NewVisitor(w.gw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// look goes to an address and no further. Headers come in pairs.
func look(t testing.TB, v *env.Visitor, method, address string, headers ...string) env.Page {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	p, err := v.Look(t.Context(), method, address, h, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
	return p
}

// choosing goes to a page where nobody is logged in, and returns where the login with
// the first provider begins.
func choosing(t testing.TB, v *env.Visitor, page string) string {
	t.Helper()
	to := look(t, v, http.MethodGet, page).Header.Get("Location")
	if !strings.Contains(to, "/login?") {
		t.Fatalf("%s leads to %q, not to a login", page, to)
	}
	return to + "&idp=idp"
}

// proven logs somebody in at the provider, and returns where that sends the browser:
// to mayflyd, where it has not been yet.
func proven(t testing.TB, v *env.Visitor, begin, who string) string {
	t.Helper()
	to, err := dev.Login(t.Context(), v.HTTP, begin, who)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// handed logs somebody in on the way to a page of an app, and returns where mayflyd
// sends the browser: to the app's host with a code, where it has not been yet.
func handed(t testing.TB, v *env.Visitor, page, who string) string {
	t.Helper()
	p := look(t, v, http.MethodGet, proven(t, v, choosing(t, v, page), who))
	to := p.Header.Get("Location")
	if !strings.Contains(to, "/.mayfly/callback?") {
		t.Fatalf("the login ends with %d at %q: %s", p.Status, to, p.Text)
	}
	return to
}

// enter logs somebody in on a host of an app, and sees no page of it.
func enter(t testing.TB, v *env.Visitor, page, who string) (cookie string) {
	t.Helper()
	if p := look(t, v, http.MethodGet, handed(t, v, page, who)); p.Status != http.StatusSeeOther {
		t.Fatalf("the login ends with %d %s", p.Status, p.Text)
	}
	cookie = v.Cookies(page)["__Host-mayfly"]
	if cookie == "" {
		t.Fatal("the browser holds no session")
	}
	return cookie
}

// atConsole logs somebody in at the console.
func (w *world) atConsole(t testing.TB, v *env.Visitor, who string) (cookie string) {
	t.Helper()
	p := look(t, v, http.MethodGet, proven(t, v, w.Public+"/login?idp=idp", who))
	cookie = v.Cookies(w.Public)[api.ConsoleCookie]
	if p.Status != http.StatusSeeOther || cookie == "" {
		t.Fatalf("%d %s", p.Status, p.Text)
	}
	return cookie
}

// refused fails unless an attempt was answered with one of the statuses, and brought
// no cookie that opens anything.
func refused(t testing.TB, what string, p env.Page, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, p.Status) {
		t.Errorf("%s: %d %.300s, want %v", what, p.Status, p.Text, statuses)
	}
	for _, c := range p.Header.Values("Set-Cookie") {
		name, rest, _ := strings.Cut(c, "=")
		value, _, _ := strings.Cut(rest, ";")
		if (name == "__Host-mayfly" || name == api.ConsoleCookie) && value != "" {
			t.Errorf("%s: it brings a session: %s", what, name)
		}
	}
}
