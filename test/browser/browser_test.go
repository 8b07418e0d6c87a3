package browser_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const (
	host    = "wiki.acme.example"
	sibling = "evil.acme.example"
)

// site serves pages at https://wiki.acme.example.
type site struct {
	ca *dev.CA
	at string // IP:port
}

func newSite(t *testing.T, t2 dev.Template, pages map[string]http.HandlerFunc) *site {
	t.Helper()
	ca := devtest.CA(t)
	if t2.DNS == nil {
		t2.DNS = []string{host, sibling}
	}
	t2.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert, err := ca.Mint(t2)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, f := range pages {
		mux.HandleFunc(pattern, f)
	}
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust it hangs up
	s.StartTLS()
	t.Cleanup(s.Close)
	return &site{ca: ca, at: s.Listener.Addr().String()}
}

// visitor is a person who trusts the site.
func (s *site) visitor(t *testing.T, more ...func(*browser.Config)) *browser.Browser {
	t.Helper()
	c := browser.Config{Resolve: map[string]string{host: s.at, sibling: s.at}, Roots: s.ca.Roots()}
	for _, f := range more {
		f(&c)
	}
	return browser.New(t, c)
}

// html answers with a page of the body.
func html(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>Wiki</title><meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main><h1>Wiki</h1>%s</main></body></html>`, body)
	}
}

func wants(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestAPersonFillsInAForm(t *testing.T) {
	t.Parallel()
	posted := make(chan url.Values, 1)
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /": html(`<form method="post" action="/ask">
			<label for="why">Reason</label> <input id="why" name="reason" value="old">
			<label>Unit <select name="unit"><option value="s">seconds</option><option value="m">minutes</option></select></label>
			<label>Day <input type="date" name="day"></label>
			<label>Note <textarea name="note"></textarea></label>
			<label><input type="checkbox" name="sure"> I am sure</label>
			<button>Ask</button> <button hidden>Ask</button></form>`),
		"POST /ask": func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			posted <- r.PostForm
			http.SetCookie(w, &http.Cookie{Name: "__Host-a", Value: "v", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.Redirect(w, r, "/done", http.StatusSeeOther)
		},
		"GET /done": html(`<p>Asked. <a href="/">Back</a></p>`),
	})
	for name, noScript := range map[string]bool{"with scripts": false, "without": true} {
		b := s.visitor(t, func(c *browser.Config) { c.NoJavaScript = noScript })
		if status := b.Open("https://" + host + "/"); status != http.StatusOK {
			t.Fatalf("%s: status %d", name, status)
		}
		b.Fill("Reason", `customer "4711" <b>`)
		b.Fill("Unit", "minutes")
		b.Fill("Day", "2026-12-01")
		b.Fill("Note", "two\nlines")
		b.Click("I am sure")
		wants(t, "the field", b.Value("reason"), `customer "4711" <b>`)
		if status := b.Follow("Ask"); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		got := <-posted
		wants(t, "posted", got.Encode(), url.Values{"reason": {`customer "4711" <b>`}, "unit": {"m"}, "day": {"2026-12-01"}, "note": {"two\r\nlines"}, "sure": {"on"}}.Encode())
		wants(t, "address", b.URL(), "https://"+host+"/done")
		b.WaitText("Asked. Back")
		c, ok := b.Cookie(host, "__Host-a")
		if !ok || c != (browser.Cookie{Name: "__Host-a", Value: "v", Domain: host, Path: "/", Secure: true, HTTPOnly: true, Session: true, SameSite: "Lax"}) {
			t.Errorf("cookie %+v, %v", c, ok)
		}
		if r := b.Requests(); !slices.ContainsFunc(r, func(r browser.Request) bool {
			return r == browser.Request{Method: "POST", URL: "https://" + host + "/ask", Type: "Document", Status: http.StatusSeeOther}
		}) {
			t.Errorf("requests %+v", r)
		}
		b.Clean()
		b.Back()
		b.WaitURL("https://" + host + "/")
	}
}

func TestTwoBrowsersAreTwoPeople(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /": func(w http.ResponseWriter, r *http.Request) {
			if _, err := r.Cookie("__Host-who"); err == nil {
				html(`<p>known</p>`)(w, r)
				return
			}
			http.SetCookie(w, &http.Cookie{Name: "__Host-who", Value: "v", Path: "/", Secure: true})
			html(`<p>new</p>`)(w, r)
		},
	})
	one := s.visitor(t)
	one.Open("https://" + host + "/")
	tab := one.NewTab()
	tab.Open("https://" + host + "/")
	tab.WaitText("known")
	two := s.visitor(t)
	two.Open("https://" + host + "/")
	two.WaitText("new")
	two.SetCookie("https://"+sibling+"/", "__Host-who", "planted")
	two.Open("https://" + sibling + "/")
	two.WaitText("known")
	two.ClearCookies()
	two.Reload()
	two.WaitText("new")
}

func TestCertificatesThatAreNotGoodAreRefused(t *testing.T) {
	t.Parallel()
	good := newSite(t, dev.Template{}, map[string]http.HandlerFunc{"GET /": html("")})
	other := newSite(t, dev.Template{DNS: []string{"other.acme.example"}}, map[string]http.HandlerFunc{"GET /": html("")})
	b := browser.New(t, browser.Config{
		Resolve: map[string]string{host: good.at, sibling: other.at, "wrong.acme.example": good.at, "other.acme.example": other.at},
		Roots:   good.ca.Roots(),
	})
	if err := b.Try("https://" + host + "/"); err != nil {
		t.Errorf("its own: %v", err)
	}
	for name, want := range map[string]string{
		"wrong.acme.example":   "ERR_CERT_COMMON_NAME_INVALID",
		"other.acme.example":   "ERR_CERT_AUTHORITY_INVALID",
		"unknown.acme.example": "ERR_NAME_NOT_RESOLVED",
	} {
		if err := b.Try("https://" + name + "/"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, port, _ := net.SplitHostPort(good.at); true {
		if err := browser.New(t, browser.Config{}).Try("https://127.0.0.1:" + port + "/"); err == nil || !strings.Contains(err.Error(), "ERR_CERT") {
			t.Errorf("who trusts nothing: %v", err)
		}
	}
}

func TestProblemsAreSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /quiet": html(`<p>quiet</p>`),
		"GET /loud":  html(`<script>alert(1)</script><img alt="" src="https://` + sibling + `/x.png"><script src="/loud.js"></script><img alt="" src="/none.png">`),
		"GET /loud.js": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, `console.error("broken", 7); setTimeout(() => { document.title = "done"; throw new Error("uncaught") });`)
		},
	})
	b := s.visitor(t)
	b.Open("https://" + host + "/quiet")
	if p := b.Problems(); len(p) != 0 {
		t.Errorf("a quiet page: %v", p)
	}
	b.Open("https://" + host + "/loud")
	b.Wait("the script", `document.title === "done"`)
	for kind, want := range map[browser.Kind][]string{
		browser.Console: {"broken 7"},
		browser.Script:  {"uncaught"},
		browser.CSP:     {"script-src-elem", "img-src https://" + sibling},
		browser.Network: {"404"},
	} {
		got := fmt.Sprint(b.Problems(kind))
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %s does not hold %q", kind, got, w)
			}
		}
		if !strings.Contains(got, string(kind)) {
			t.Errorf("%s: %s", kind, got)
		}
	}
	f := &failures{TB: t}
	f.watch(b).Clean()
	if f.errors != 4 {
		t.Errorf("Clean told %d problems", f.errors)
	}
	f.errors = 0
	if b.Clean("broken", "uncaught", "script-src", "img-src"); f.errors != 0 {
		t.Errorf("Clean told of what was allowed, %d times", f.errors)
	}
	if b.Forget(); len(b.Problems()) != 0 || len(b.Requests()) != 0 {
		t.Error("something is not forgotten")
	}
}

// failures is a test that notes that it failed.
type failures struct {
	testing.TB
	errors int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.errors++ }

// watch has what b complains of told to f.
func (f *failures) watch(b *browser.Browser) *browser.Tab { return browser.TellTo(b.Tab, f) }

func TestWhatKeepsPeopleOutIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /good": html(`<label>Reason <input name="r"></label><button>Ask</button>`),
		"GET /bad":  html(`<input name="r"><button></button>`),
	})
	b := s.visitor(t)
	b.Open("https://" + host + "/good")
	if f := b.Axe(); len(f) != 0 {
		t.Errorf("a good page: %v", f)
	}
	b.Clean() // axe itself met no policy
	b.Open("https://" + host + "/bad")
	got := fmt.Sprint(b.Axe())
	for _, want := range []string{"label (critical)", "button-name (critical)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s does not hold %q", got, want)
		}
	}
	f := &failures{TB: t}
	if f.watch(b).NoAxeFindings(); f.errors != 2 {
		t.Errorf("%d errors", f.errors)
	}
}

func TestSidewaysScrollIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /narrow": html(`<p>` + strings.Repeat("words wrap ", 100) + `</p>`),
		"GET /wide":   html(`<svg width="600" height="20"></svg>`),
	})
	b := s.visitor(t)
	b.Open("https://" + host + "/narrow")
	b.NoSidewaysScroll(320, 390, 1280)
	b.Open("https://" + host + "/wide")
	b.NoSidewaysScroll(1280)
	if over := b.Sideways(390); len(over) < 2 || !strings.Contains(over[len(over)-1], "<svg") {
		t.Errorf("%q", over)
	}
	f := &failures{TB: t}
	if f.watch(b).NoSidewaysScroll(320, 1280); f.errors != 1 {
		t.Errorf("%d errors", f.errors)
	}
}

func TestKeysAndNames(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{
		"GET /":     html(`<a href="/one">One</a> <a href="/two">Two</a> <button type="button" aria-label="Close">×</button><button type="button">Same</button><button type="button" id="second">Same</button>`),
		"GET /one":  html(`<p>first</p>`),
		"GET /two":  html(`<p>second</p>`),
		"GET /deny": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
	})
	b := s.visitor(t)
	b.Open("https://" + host + "/")
	b.Press(kb.Tab)
	wants(t, "focus", b.Focused(), "One")
	b.Press(kb.Tab)
	b.Press(kb.Enter)
	b.WaitURL("https://" + host + "/two")
	b.WaitNoText("first")
	b.Back()
	if !b.Has("Close") || b.Has("×") || b.Has("Nothing") {
		t.Error("names are not what a person is told")
	}
	b.Click("#second")
	b.DoubleClick("Close")
	f := &fatal{TB: t}
	if f.during(func() { browser.TellTo(b.Tab, f).Click("Same") }); !strings.Contains(f.text, "2 things") {
		t.Errorf("two things of one name: %q", f.text)
	}
	if status := b.Open("https://" + host + "/deny"); status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
	if h := b.Header("content-type"); !strings.HasPrefix(h, "text/plain") {
		t.Errorf("header %q", h)
	}
}

// fatal is a test that ends where a real one would.
type fatal struct {
	testing.TB
	text string
}

type ended struct{}

func (f *fatal) Helper() {}
func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(ended{})
}

func (f *fatal) during(do func()) {
	defer func() {
		if r := recover(); r != nil && r != (ended{}) {
			panic(r)
		}
	}()
	do()
}

func TestPicturesAreSmallAndTheSame(t *testing.T) {
	t.Parallel()
	s := newSite(t, dev.Template{}, map[string]http.HandlerFunc{"GET /": html(`<p>` + strings.Repeat("Some words of a page. ", 400) + `</p>`)})
	b := s.visitor(t)
	b.Open("https://" + host + "/")
	shot := b.Screenshot(800)
	dir := t.TempDir()
	for _, name := range []string{"a.png", "b.png"} {
		browser.SaveScreenshot(t, filepath.Join(dir, "img", name), shot, 150<<10)
	}
	one, err := os.ReadFile(filepath.Join(dir, "img", "a.png"))
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := os.ReadFile(filepath.Join(dir, "img", "b.png")); !bytes.Equal(one, two) {
		t.Error("the same picture gave two files")
	}
	img, err := png.Decode(bytes.NewReader(one))
	if err != nil || img.Bounds().Dx() != 800 || img.Bounds().Dy() < 600 || len(one) > 150<<10 {
		t.Errorf("%v, %d bytes, %v", img.Bounds(), len(one), err)
	}
	r, g, bl, _ := img.At(2, 2).RGBA()
	if r>>8 != 255 || g>>8 != 255 || bl>>8 != 255 {
		t.Error("white is not white any more")
	}
}

func TestAPictureThatCannotBeSmallIsRefused(t *testing.T) {
	noise := image.NewRGBA(image.Rect(0, 0, 300, 300))
	state := uint32(1)
	for i := range noise.Pix {
		state = state*1664525 + 1013904223
		noise.Pix[i] = uint8(state >> 24)
	}
	for x := range 300 {
		for y := range 300 {
			c := noise.RGBAAt(x, y)
			c.A = 255
			noise.SetRGBA(x, y, color.RGBA{c.R, c.G, c.B, 255})
		}
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, noise); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.png")
	f := &fatal{TB: t}
	if f.during(func() { browser.SaveScreenshot(f, path, picture.Bytes(), 10<<10) }); !strings.Contains(f.text, "want 10240") {
		t.Errorf("%q", f.text)
	}
	browser.SaveScreenshot(t, path, picture.Bytes(), 80<<10) // with fewer colours
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
