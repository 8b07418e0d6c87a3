package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// wikiPage is where alice wants to go, and why.
const (
	wikiPath   = "/team/plan"
	wikiReason = "plan of the week"
)

// person tells how people come in: by a real browser where there is one, else by the
// same requests over plain HTTP.
func (s *story) person(ctx context.Context) (err error) {
	how, path := "plain HTTP, since there is no Chromium here", ""
	if found, err := need.FindChromium(); err == nil {
		how, path = "a real Chromium", found
	}
	s.chapter("A person, by %s: alice opens the wiki, is refused, asks from the refusal, is approved, and works.", how)
	if path == "" {
		return s.visit(ctx)
	}
	t := &teller{}
	defer func() {
		t.end()
		if broken, ok := recover().(*brokenError); ok {
			err = broken
		}
	}()
	return s.browse(ctx, t, path)
}

// browse goes the way in Chromium.
func (s *story) browse(ctx context.Context, t *teller, chromium string) error {
	page := s.e.App(env.WikiHost, wikiPath)
	alice := browser.New(t, browser.Config{
		Path: chromium, Roots: s.e.CA.Roots(), Resolve: map[string]string{env.WikiHost: gatewayHost(s.gw), "localhost": "127.0.0.1"},
	})
	alice.Open(page)
	s.fact("alice opens %s and is sent to log in", page)
	alice.WaitText("Development login")
	alice.Follow("alice")
	alice.WaitText("No access has been granted")
	s.fact("logged in, she reads: No access has been granted")
	alice.Follow("Request access")
	alice.WaitText("Ask for wiki/read")
	alice.Click(`input[name="duration"][value="1h0m0s"]`)
	alice.Fill("reason", wikiReason)
	alice.Follow("Ask for access")
	alice.WaitText("This page follows it")
	s.fact("the button opens the console with wiki/read filled in; for 1 hour it waits for somebody's word")
	if err := s.wordOn(ctx, alice.URL()); err != nil {
		return err
	}
	alice.WaitURL(page)
	if err := s.given(alice.Text()); err != nil {
		return err
	}
	held, ok := alice.Cookie(env.WikiHost, "__Host-mayfly")
	if !ok {
		return errors.New("she holds no session")
	}
	alice.Open(s.e.Public + "/")
	alice.Follow("Log out")
	alice.WaitText("Your login has ended")
	alice.Clean("status of 403")
	return s.loggedOut(ctx, page, held.Value)
}

// visit goes the same way without a browser.
func (s *story) visit(ctx context.Context) error {
	v, err := s.e.NewVisitor(s.gw)
	if err != nil {
		return err
	}
	address := s.e.App(env.WikiHost, wikiPath)
	page, err := v.Login(ctx, address, "alice")
	if err != nil {
		return err
	}
	s.fact("alice opens %s and is sent to log in", address)
	ask := html.UnescapeString(found(page.Text, `<a class="act" href="([^"]+)">Request access</a>`))
	if page.Status != http.StatusForbidden || ask == "" {
		return fmt.Errorf("alice is answered %d: %s", page.Status, page.Text)
	}
	s.fact("logged in, she reads: %s", html.UnescapeString(found(page.Text, `<h1>([^<]+)</h1>`)))
	if page, err = v.Open(ctx, ask); err != nil {
		return err
	}
	form := url.Values{"do": {"ask"}, "duration": {"1h0m0s"}, "reason": {wikiReason}}
	for _, field := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(page.Text, -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	if page, err = v.Submit(ctx, s.e.Public+"/ask", form); err != nil {
		return err
	}
	s.fact("the button opens the console with %s filled in; for 1 hour it waits for somebody's word", form.Get("entitlement"))
	if err := s.wordOn(ctx, page.URL.String()); err != nil {
		return err
	}
	if page, err = v.Open(ctx, page.URL.String()); err != nil {
		return err
	}
	on := html.UnescapeString(found(page.Text, `href="([^"]+)" data-continue>Continue to `))
	if on != address {
		return fmt.Errorf("the console leads on to %q, not to %s", on, address)
	}
	if page, err = v.Open(ctx, on); err != nil {
		return err
	}
	if err := s.given(page.Text); err != nil {
		return err
	}
	held := v.Cookies(address)["__Host-mayfly"]
	if page, err = v.Submit(ctx, s.e.Public+"/logout", url.Values{}); err != nil || page.Status != http.StatusOK {
		return fmt.Errorf("logout: %d, %w", page.Status, err)
	}
	return s.loggedOut(ctx, address, held)
}

// wordOn has bob approve the request that a page of the console is about.
func (s *story) wordOn(ctx context.Context, address string) error {
	id := found(address, `/requests/(req_[0-9A-Z]+)`)
	if id == "" {
		return fmt.Errorf("no request at %s", address)
	}
	_, err := s.run(ctx, "bob", exitDone, "approve", id, "--yes")
	return err
}

// given checks what the app was told of her.
func (s *story) given(page string) error {
	var h http.Header
	if err := json.Unmarshal([]byte(page), &h); err != nil {
		return fmt.Errorf("the wiki shows %.200q: %w", page, err)
	}
	if h.Get("X-Auth-User") != "user:idp:"+dev.AliceSubject || h.Get("X-Auth-Email") != "alice@acme.example" {
		return fmt.Errorf("the wiki is told %v", h)
	}
	if strings.Contains(strings.ToLower(h.Get("Cookie")), "mayfly") {
		return fmt.Errorf("the wiki sees the cookie %s", h.Get("Cookie"))
	}
	s.fact("the console leads her on to the wiki, which is told who she is (x-auth-email: %s) and sees no cookie of Mayfly's", h.Get("X-Auth-Email"))
	return nil
}

// loggedOut checks that a session which was held opens nothing any more.
func (s *story) loggedOut(ctx context.Context, page, held string) error {
	thief, err := s.e.NewVisitor(s.gw)
	if err != nil {
		return err
	}
	before := len(s.e.Wiki.Arrivals())
	err = env.Eventually(ctx, "the session ends", func() error {
		a, err := thief.Look(ctx, http.MethodGet, page, http.Header{"Cookie": {"__Host-mayfly=" + held}, "Sec-Fetch-Mode": {"cors"}, "Accept": {"*/*"}}, nil)
		if err == nil && a.Status != http.StatusUnauthorized {
			err = fmt.Errorf("it is answered %d", a.Status)
		}
		return err
	})
	if err != nil {
		return err
	}
	if n := len(s.e.Wiki.Arrivals()); n != before {
		return fmt.Errorf("%d requests reached the wiki after she logged out", n-before)
	}
	s.fact("she logs out of the console: her session on the wiki's host is refused at the next request")
	return nil
}

func found(text, pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// teller owns the browser of the demo.
type teller struct{ ends []func() }

var _ browser.TB = (*teller)(nil)

// brokenError says that the browser did not show what it should.
type brokenError struct{ text string }

// Error says what was shown instead.
func (e *brokenError) Error() string { return e.text }

// Helper implements browser.TB.
func (t *teller) Helper() {}

// Cleanup implements browser.TB.
func (t *teller) Cleanup(f func()) { t.ends = append(t.ends, f) }

// Error implements browser.TB.
func (t *teller) Error(args ...any) { t.Fatal(args...) }

// Errorf implements browser.TB.
func (t *teller) Errorf(format string, args ...any) { t.Fatalf(format, args...) }

// Fatal implements browser.TB.
func (t *teller) Fatal(args ...any) { panic(&brokenError{fmt.Sprint(args...)}) }

// Fatalf implements browser.TB.
func (t *teller) Fatalf(format string, args ...any) {
	panic(&brokenError{fmt.Sprintf(format, args...)})
}

func (t *teller) end() {
	for len(t.ends) > 0 {
		last := t.ends[len(t.ends)-1]
		t.ends = t.ends[:len(t.ends)-1]
		last()
	}
}
