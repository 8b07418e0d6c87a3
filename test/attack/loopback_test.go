package attack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/need"
)

// appHost is the app that the program of a run is there for.
const appHost = "reports.acme.example"

// run is one run's way in, with what got through it to the gateway.
type run struct {
	*caller.Listener
	key  caller.Secret
	stop func()

	mu   sync.Mutex
	seen []*http.Request
}

// RoundTrip is the gateway, which lets everything pass.
func (r *run) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("passed"))}, nil
}

// passed returns method and path of everything that got through so far.
func (r *run) passed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for _, req := range r.seen {
		out = append(out, req.Method+" "+req.URL.Path)
	}
	return out
}

// nothing fails if anything got through.
func (r *run) nothing(t *testing.T, what string) {
	t.Helper()
	if got := r.passed(); len(got) > 0 {
		t.Errorf("%s: the gateway got %v", what, got)
	}
}

// begin opens a run of an app of kind web, changed by change.
func begin(t *testing.T, change ...func(*caller.Config)) *run {
	t.Helper()
	form := caller.FormOf("web")
	r := &run{key: caller.NewSecret(form.KeyPrefix)}
	c := caller.Config{Address: netip.MustParseAddrPort("127.0.0.1:0"), Host: appHost, Form: form, Secret: r.key, Door: r}
	for _, f := range change {
		f(&c)
	}
	var err error
	if r.Listener, err = caller.Open(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *run) address() string { return strings.TrimPrefix(r.URL(), "http://") }

// say writes bytes to the run and returns the statuses of all answers until the end.
func (r *run) say(t *testing.T, text string) []int {
	t.Helper()
	c, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var out []int
	for in := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return out
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		out = append(out, resp.StatusCode)
	}
}

// TestLoopbackTheProgramItself is what the others are held against.
func TestLoopbackTheProgramItself(t *testing.T) {
	r := begin(t)
	got := r.say(t, "GET /daily HTTP/1.1\r\nHost: "+r.address()+"\r\nX-Mayfly-Key: "+r.key.Reveal()+"\r\nConnection: close\r\n\r\n")
	if !slices.Equal(got, []int{200}) || !slices.Equal(r.passed(), []string{"GET /daily"}) {
		t.Fatal(got, r.passed())
	}
	if text := fmt.Sprint(r.seen[0].Header, r.seen[0].URL); strings.Contains(text, r.key.Reveal()) {
		t.Error("the key left the machine:", text)
	}
}

// TestLoopbackWithoutTheKey: whoever else reaches the port.
func TestLoopbackWithoutTheKey(t *testing.T) {
	r := begin(t)
	before := begin(t)
	before.stop() // a run that is over
	for name, header := range map[string]string{
		"nothing":                        "",
		"a guess":                        "X-Mayfly-Key: mk_mayflyAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n",
		"nothing in its place":           "X-Mayfly-Key:\r\n",
		"the key of a run that is over":  "X-Mayfly-Key: " + before.key.Reveal() + "\r\n",
		"the beginning of the key":       "X-Mayfly-Key: " + r.key.Reveal()[:10] + "\r\n",
		"the key without its last sign":  "X-Mayfly-Key: " + strings.TrimSuffix(r.key.Reveal(), r.key.Reveal()[len(r.key.Reveal())-1:]) + "\r\n",
		"how the key prints":             "X-Mayfly-Key: " + r.key.String() + "\r\n",
		"the key in another header":      "X-Api-Key: " + r.key.Reveal() + "\r\n",
		"the key in a cookie":            "Cookie: key=" + r.key.Reveal() + "\r\n",
		"the key as a password":          "Authorization: Basic " + "Om1r" + "\r\n",
		"a spelling that some fold":      "X_Mayfly_Key: " + r.key.Reveal() + "\r\n",
		"two keys, the second one right": "X-Mayfly-Key: x\r\nX-Mayfly-Key: " + r.key.Reveal() + "\r\n",
		"two keys, the first one right":  "X-Mayfly-Key: " + r.key.Reveal() + "\r\nX-Mayfly-Key: x\r\n",
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD"} {
			got := r.say(t, method+" /daily HTTP/1.1\r\nHost: "+r.address()+"\r\n"+header+"Content-Length: 0\r\n\r\n")
			if len(got) != 1 || got[0] < 400 || got[0] >= 500 {
				t.Errorf("%s %s: %v", method, name, got)
			}
		}
	}
	r.nothing(t, "without the key")
}

// TestLoopbackKeysOfConcurrentRuns: many at once, each with another's key.
func TestLoopbackKeysOfConcurrentRuns(t *testing.T) {
	runs := []*run{begin(t), begin(t), begin(t)}
	var g sync.WaitGroup
	for i := range runs {
		for j := range runs {
			g.Go(func() {
				for range 20 {
					got := runs[i].say(t, "GET /of/"+fmt.Sprint(j)+" HTTP/1.1\r\nHost: "+runs[i].address()+"\r\nX-Mayfly-Key: "+runs[j].key.Reveal()+"\r\nConnection: close\r\n\r\n")
					if want := map[bool]int{true: 200, false: 401}[i == j]; !slices.Equal(got, []int{want}) {
						t.Errorf("the key of run %d at run %d: %v", j, i, got)
					}
				}
			})
		}
	}
	g.Wait()
	for i, r := range runs {
		for _, what := range r.passed() {
			if what != fmt.Sprintf("GET /of/%d", i) {
				t.Errorf("run %d let %s through", i, what)
			}
		}
	}
}

// TestLoopbackWrongHost: who has even the key, but came by another name.
func TestLoopbackWrongHost(t *testing.T) {
	r := begin(t)
	_, port, _ := net.SplitHostPort(r.address())
	for _, host := range []string{
		"rebind.evil.example", "rebind.evil.example:" + port, "127.0.0.1", "127.0.0.1:1", "127.0.0.2:" + port, "0.0.0.0:" + port,
		"[::1]:" + port, "2130706433:" + port, "0x7f.1:" + port, "127.0.0.1.:" + port, "localhost", "localhost.:" + port, "LOCALHOST:" + port,
		"localhost.evil.example:" + port, "127.0.0.1:" + port + ".evil.example", "user@127.0.0.1:" + port, appHost, "",
	} {
		got := r.say(t, "GET /daily HTTP/1.1\r\nHost: "+host+"\r\nX-Mayfly-Key: "+r.key.Reveal()+"\r\n\r\n")
		if len(got) != 1 || got[0] < 400 || got[0] >= 500 {
			t.Errorf("Host %q: %v", host, got)
		}
	}
	for name, head := range map[string]string{
		"two hosts":             "GET /daily HTTP/1.1\r\nHost: " + r.address() + "\r\nHost: evil.example\r\n",
		"no host":               "GET /daily HTTP/1.1\r\n",
		"no host in HTTP/1.0":   "GET /daily HTTP/1.0\r\n",
		"a target elsewhere":    "GET http://evil.example/daily HTTP/1.1\r\nHost: " + r.address() + "\r\n",
		"a target of the app":   "GET https://" + appHost + "/daily HTTP/1.1\r\nHost: " + r.address() + "\r\n",
		"a tunnel":              "CONNECT " + appHost + ":443 HTTP/1.1\r\nHost: " + r.address() + "\r\n",
		"trace":                 "TRACE /daily HTTP/1.1\r\nHost: " + r.address() + "\r\n",
		"an upgrade":            "GET /daily HTTP/1.1\r\nHost: " + r.address() + "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
		"an upgrade to HTTP/2":  "GET /daily HTTP/1.1\r\nHost: " + r.address() + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
		"HTTP/2 from the start": "PRI * HTTP/2.0\r\n",
	} {
		got := r.say(t, head+"X-Mayfly-Key: "+r.key.Reveal()+"\r\n\r\n")
		if len(got) != 1 || got[0] < 400 || got[0] == 502 {
			t.Errorf("%s: %v", name, got)
		}
	}
	r.nothing(t, "under another host")
}

// TestLoopbackHeadersOfAPage: what a browser says of a page's request is refused
// from whoever has even the key.
func TestLoopbackHeadersOfAPage(t *testing.T) {
	r := begin(t)
	for _, header := range []string{
		"Origin: https://evil.example", "Origin: null", "Origin: " + r.URL(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin",
		"Sec-Fetch-Site: none", "Sec-Fetch-Dest: image", "Sec-Fetch-User: ?1", "origin:", "Access-Control-Request-Method: POST",
	} {
		got := r.say(t, "POST /daily HTTP/1.1\r\nHost: "+r.address()+"\r\nX-Mayfly-Key: "+r.key.Reveal()+"\r\n"+header+"\r\nContent-Length: 0\r\n\r\n")
		if !slices.Equal(got, []int{403}) {
			t.Errorf("%s: %v", header, got)
		}
	}
	r.nothing(t, "from a page")
}

// TestLoopbackHeaderSmuggling: the key may authorise one request, and is never sent on.
func TestLoopbackHeaderSmuggling(t *testing.T) {
	head := func(r *run) string {
		return " /mine HTTP/1.1\r\nHost: " + r.address() + "\r\nX-Mayfly-Key: " + r.key.Reveal() + "\r\n"
	}
	for name, text := range map[string]func(*run) string{
		"a second request behind an empty body": func(r *run) string {
			return "POST" + head(r) + "Content-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: " + r.address() + "\r\n\r\n"
		},
		"two lengths": func(r *run) string {
			return "POST" + head(r) + "Content-Length: 0\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
		},
		"a length and chunks": func(r *run) string {
			return "POST" + head(r) + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: " + r.address() + "\r\n\r\n"
		},
		"chunks that are none": func(r *run) string {
			return "POST" + head(r) + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: " + r.address() + "\r\n\r\n"
		},
		"a line break in a header": func(r *run) string {
			return "GET" + head(r) + "X-A: b\n\nGET /smuggled HTTP/1.1\r\nHost: " + r.address() + "\r\n\r\n"
		},
		"a target with a line break": func(r *run) string {
			return "GET /mine%0d%0aX-Mayfly-Key:%20" + "x HTTP/1.1\r\nHost: " + r.address() + "\r\n\r\n"
		},
		"the key named as hop by hop": func(r *run) string {
			return "GET" + head(r) + "Connection: X-Mayfly-Key, close\r\n\r\n"
		},
		"the key in the target": func(r *run) string {
			return "GET /smuggled?" + r.key.Reveal() + " HTTP/1.1\r\nHost: " + r.address() + "\r\nX-Mayfly-Key: " + r.key.Reveal() + "\r\n\r\n"
		},
		"the key in a cookie too": func(r *run) string {
			return strings.Replace("GET"+head(r), "/mine", "/smuggled", 1) + "Cookie: a=" + r.key.Reveal() + "\r\n\r\n"
		},
		"the key as authorization too": func(r *run) string {
			return strings.Replace("GET"+head(r), "/mine", "/smuggled", 1) + "Authorization: Bearer " + r.key.Reveal() + "\r\n\r\n"
		},
	} {
		r := begin(t)
		r.say(t, text(r))
		if got := r.passed(); len(got) > 1 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "smuggled") }) {
			t.Errorf("%s: %v", name, got)
		}
		for _, req := range r.seen {
			if text := fmt.Sprint(req.Header, req.URL, req.Host, req.Trailer); strings.Contains(text, r.key.Reveal()) {
				t.Errorf("%s: the gateway is sent the key: %s", name, text)
			}
			for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Mayfly-Key"} {
				if _, ok := req.Header[h]; ok {
					t.Errorf("%s: the gateway is sent %s", name, h)
				}
			}
		}
	}
}

// TestLoopbackServerThatIsTricked: an app on this machine, of the same user, fetches
// any address that it is told.
func TestLoopbackServerThatIsTricked(t *testing.T) {
	r := begin(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		out, err := http.NewRequestWithContext(req.Context(), req.FormValue("method"), req.FormValue("url"), strings.NewReader(req.FormValue("body")))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out.Header.Set("Authorization", "Bearer the-apps-own-token")
		resp, err := http.DefaultClient.Do(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer app.Close()
	redirect := httptest.NewServer(http.RedirectHandler(r.URL()+"/v1/refunds", http.StatusTemporaryRedirect))
	defer redirect.Close()
	_, port, _ := net.SplitHostPort(r.address())
	for _, target := range []string{r.URL() + "/v1/refunds", "http://localhost:" + port + "/v1/refunds", "http://anybody@127.0.0.1:" + port + "/", "http://127.1:" + port + "/", redirect.URL} {
		for _, method := range []string{"GET", "POST"} {
			resp, err := http.PostForm(app.URL, url.Values{"url": {target}, "method": {method}, "body": {"charge=ch_1"}})
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode < 400 || strings.Contains(string(b), r.key.Reveal()) {
				t.Errorf("%s %s: %s %s", method, target, resp.Status, b)
			}
		}
	}
	r.nothing(t, "by a server that is tricked")
}

// TestLoopbackAnotherUser: another user of this machine, who has even read the key off
// a command line, at the port and at a socket that is open to all.
func TestLoopbackAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		need.Missing(t, errors.New("only root can be another user"))
	}
	dir, err := os.MkdirTemp("", "mf") // every user reaches it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	port := begin(t)
	unix := begin(t, func(c *caller.Config) { c.Address, c.Secret, c.Socket = netip.AddrPort{}, caller.Secret{}, socket })
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, network, address, host, key string
		r                                 *run
	}{
		{"at the port", "tcp", port.address(), port.address(), port.key.Reveal(), port},
		{"at the socket", "unix", socket, "localhost", "-", unix},
	} {
		if got := as(t, 65534, c.network, c.address, c.host, c.key); got != 401 {
			t.Errorf("another user %s: %d", c.name, got)
		}
		c.r.nothing(t, "another user "+c.name)
		if got := as(t, 0, c.network, c.address, c.host, c.key); got != 200 {
			t.Errorf("the own user %s: %d: this test would pass on anything", c.name, got)
		}
	}
}

// as asks as another user, and returns the status of the answer. Only one thread
// becomes that user, and it ends with the call.
func as(t *testing.T, uid int, network, address, host, key string) int {
	t.Helper()
	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // for good
		const same = ^uintptr(0)
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
			done <- result{0, e}
			return
		}
		c, err := net.Dial(network, address)
		if err != nil {
			done <- result{0, err}
			return
		}
		defer c.Close()
		_, err = fmt.Fprintf(c, "GET /daily HTTP/1.1\r\nHost: %s\r\nX-Mayfly-Key: %s\r\nConnection: close\r\n\r\n", host, key)
		if err != nil {
			done <- result{0, err}
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			done <- result{0, err}
			return
		}
		done <- result{resp.StatusCode, resp.Body.Close()}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.status
}

// TestLoopbackWebPage has a real browser come by a page that posts forms to the port,
// fetches from it in every mode, loads it as a picture, a script, a style and a frame,
// opens it, and reaches it by a name of its own that leads here (DNS rebinding).
func TestLoopbackWebPage(t *testing.T) {
	r := begin(t)
	const rebound = "rebind.evil.example"
	page := http.NewServeMux()
	page.HandleFunc("GET /form", submits(r.URL()+"/form", url.Values{"charge": {"ch_1"}}))
	page.HandleFunc("GET /fetch", shows(fmt.Sprintf(`<script>
(async () => {
  for (const mode of ["cors", "no-cors", "same-origin"]) for (const method of ["GET", "POST", "DELETE"]) for (const headers of [{}, {"X-Mayfly-Key": %q}, {"Authorization": "Bearer " + %q}]) {
    try {
      const r = await fetch(%q, {method, mode, headers, credentials: "include"})
      if (r.type !== "opaque") document.body.append(" read " + r.status)
    } catch (e) {}
  }
  document.body.append(" over")
})()
</script><img src=%q><script src=%q></script><link rel="stylesheet" href=%q><iframe src=%q></iframe>`,
		r.key.Reveal(), r.key.Reveal(), r.URL()+"/fetch", r.URL()+"/img", r.URL()+"/js", r.URL()+"/css", r.URL()+"/frame")))
	site := httptest.NewServer(page)
	defer site.Close()
	b := browser.New(t, browser.Config{Resolve: map[string]string{rebound: r.address()}})
	b.Open(site.URL + "/form")
	b.WaitURL(r.URL() + "/form")
	if s := b.Status(); s != http.StatusForbidden {
		t.Errorf("a form's post: %d %s", s, b.Text())
	}
	b.Open(site.URL + "/fetch")
	b.WaitText("over")
	if strings.Contains(b.Text(), "read") {
		t.Error("the page reads answers:", b.Text())
	}
	if s := b.Open(r.URL() + "/typed"); s != http.StatusForbidden && s != http.StatusUnauthorized {
		t.Errorf("opened: %d", s)
	}
	if s := b.Open("http://" + rebound + "/rebound"); s != http.StatusForbidden {
		t.Errorf("by another name: %d %s", s, b.Text())
	}
	r.nothing(t, "a web page")
}
