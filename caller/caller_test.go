package caller_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/grant"
)

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, b)
	})
}

// Only one plain request, at the exact host, from no page, with the key.
func TestWhatIsLetIn(t *testing.T) {
	w := newWorld(t, echo())
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	host := hostOf(l)
	k := caller.KeyHeader + ": " + key.Reveal() + "\r\n"
	basic := base64.StdEncoding.EncodeToString([]byte(key.Reveal() + ":"))
	withPassword := base64.StdEncoding.EncodeToString([]byte(key.Reveal() + ":x"))
	for _, c := range []struct {
		name, line, host, header string
		status                   int
		reason                   string
	}{
		{"as documented", "GET /a HTTP/1.1", host, k, 200, ""},
		{"as a bearer token", "GET /a HTTP/1.1", host, "Authorization: bearer " + key.Reveal() + "\r\n", 200, ""},
		{"as a user without a password", "GET /a HTTP/1.1", host, "Authorization: Basic " + basic + "\r\n", 200, ""},
		{"under the name localhost", "GET /a HTTP/1.1", fmt.Sprintf("localhost:%d", l.Port()), k, 200, ""},
		{"as the fetch of Node does", "GET /a HTTP/1.1", host, k + "Sec-Fetch-Mode: cors\r\n", 200, ""},
		{"no key", "GET /a HTTP/1.1", host, "", 401, "no_identity"},
		{"an empty key", "GET /a HTTP/1.1", host, caller.KeyHeader + ": \r\n", 401, "no_identity"},
		{"a key of another run", "GET /a HTTP/1.1", host, caller.KeyHeader + ": " + caller.NewSecret("mk_").Reveal() + "\r\n", 401, "no_identity"},
		{"a part of the key", "GET /a HTTP/1.1", host, caller.KeyHeader + ": " + key.Reveal()[:20] + "\r\n", 401, "no_identity"},
		{"the key and more", "GET /a HTTP/1.1", host, caller.KeyHeader + ": " + key.Reveal() + "x\r\n", 401, "no_identity"},
		{"a user with a password", "GET /a HTTP/1.1", host, "Authorization: Basic " + withPassword + "\r\n", 401, "no_identity"},
		{"no Basic", "GET /a HTTP/1.1", host, "Authorization: Basic %%%\r\n", 401, "no_identity"},
		{"the key as a scheme", "GET /a HTTP/1.1", host, "Authorization: " + key.Reveal() + "\r\n", 401, "no_identity"},
		{"two keys", "GET /a HTTP/1.1", host, k + k, 400, "conflicting_headers"},
		{"two authorizations", "GET /a HTTP/1.1", host, "Authorization: Bearer x\r\nAuthorization: Bearer " + key.Reveal() + "\r\n", 400, "conflicting_headers"},
		{"the key in the address too", "GET /a?k=" + key.Reveal() + " HTTP/1.1", host, k, 400, "conflicting_headers"},
		{"the key in another header too", "GET /a HTTP/1.1", host, k + "Cookie: k=" + key.Reveal() + "\r\n", 400, "conflicting_headers"},
		{"another host", "GET /a HTTP/1.1", "evil.example", k, 403, "cross_site"},
		{"another host with the port", "GET /a HTTP/1.1", fmt.Sprintf("evil.example:%d", l.Port()), k, 403, "cross_site"},
		{"without the port", "GET /a HTTP/1.1", "127.0.0.1", k, 403, "cross_site"},
		{"another spelling of the address", "GET /a HTTP/1.1", fmt.Sprintf("127.1:%d", l.Port()), k, 403, "cross_site"},
		{"a dot behind the name", "GET /a HTTP/1.1", fmt.Sprintf("localhost.:%d", l.Port()), k, 403, "cross_site"},
		{"the app's own host", "GET /a HTTP/1.1", appHost, k, 403, "cross_site"},
		{"from a page", "GET /a HTTP/1.1", host, k + "Origin: https://evil.example\r\n", 403, "cross_site"},
		{"from a page without a name", "GET /a HTTP/1.1", host, k + "Origin: null\r\n", 403, "cross_site"},
		{"a picture of a page", "GET /a HTTP/1.1", host, k + "Sec-Fetch-Site: cross-site\r\n", 403, "cross_site"},
		{"typed into a browser", "GET /a HTTP/1.1", host, k + "Sec-Fetch-Site: none\r\n", 403, "cross_site"},
		{"a preflight", "OPTIONS /a HTTP/1.1", host, "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", 403, "cross_site"},
		{"the target is elsewhere", "GET http://evil.example/a HTTP/1.1", host, k, 400, "malformed"},
		{"the target is here, in full", "GET http://" + host + "/a HTTP/1.1", host, k, 400, "malformed"},
		{"no target", "OPTIONS * HTTP/1.1", host, k, 400, "malformed"},
		{"a tunnel", "CONNECT evil.example:443 HTTP/1.1", "evil.example:443", k, 400, "malformed"},
		{"trace", "TRACE /a HTTP/1.1", host, k, 400, "malformed"},
		{"another protocol", "GET /a HTTP/1.1", host, k + "Connection: Upgrade\r\nUpgrade: websocket\r\n", 400, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.arrived())
			status, body := raw(t, "tcp", host, c.line+"\r\nHost: "+c.host+"\r\n"+c.header+"\r\n")
			var p struct{ Code, Next string }
			_ = json.Unmarshal([]byte(body), &p)
			if status != c.status || p.Code != c.reason {
				t.Errorf("%d %s", status, body)
			}
			if (len(w.arrived()) > before) != (c.status == 200) {
				t.Error("what reached the gateway is not what was let in")
			}
			if strings.Contains(body, key.Reveal()) {
				t.Error("the answer tells the key")
			}
			if (status == 401 || status == 403) && p.Next == "" {
				t.Error("the answer does not say what to do next: " + body)
			}
		})
	}
}

// What the program sends reaches the gateway as it was sent, for the app's host,
// without the key and without anything that nobody said.
func TestWhatIsPassedOn(t *testing.T) {
	w := newWorld(t, echo())
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	for _, target := range []string{"/", "/a/../b//c", "/a%2Fb%20c?x=1;y=2&z=%zz", "//evil.example/a", "/a?", "/%E2%82%AC/é"} {
		status, body := raw(t, "tcp", hostOf(l), "POST "+target+" HTTP/1.1\r\nHost: "+hostOf(l)+"\r\n"+caller.KeyHeader+": "+key.Reveal()+
			"\r\nAuthorization: Bearer the-apps-own\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Drop: 1\r\nConnection: x-drop\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nhi")
		want := target
		if target == "/%E2%82%AC/é" {
			want = "/%E2%82%AC/%C3%A9"
		}
		if status != 200 || body != "POST "+want+" hi" {
			t.Errorf("%s: %d %s", target, status, body)
		}
		seen := w.arrived()
		got := seen[len(seen)-1]
		if got.Host != appHost || got.TLS.ServerName != appHost || got.Header.Get("Authorization") != "Bearer the-apps-own" {
			t.Errorf("%s as %s, %v", got.Host, got.TLS.ServerName, got.Header)
		}
		for name := range got.Header {
			if !slices.Contains([]string{"Authorization", "Content-Length", "Accept-Encoding"}, name) {
				t.Errorf("the gateway is sent %s", name)
			}
		}
		if strings.Contains(fmt.Sprint(got.Header), key.Reveal()) {
			t.Error("the gateway sees the key")
		}
	}
}

// For Stripe the key is where Stripe's is, and refusals are Stripe's errors.
func TestTheStripeForm(t *testing.T) {
	w := newWorld(t, echo())
	kind, err := stripe.New()
	check(t, err)
	form := caller.FormOf("stripe")
	key := caller.NewSecret(form.KeyPrefix)
	l := run(t, caller.Config{Address: loopback(), Host: "stripe.acme.example", Form: form, Secret: key, Door: w.door(t, w.source(t)), Refuse: kind.Refuse})
	if resp, body := get(t, l.URL()+"/v1/refunds", "Authorization", "Bearer "+key.Reveal()); resp.StatusCode != 200 {
		t.Fatal(resp.Status, body)
	}
	if seen := w.arrived(); seen[0].Header.Get("Authorization") != "" {
		t.Error("the gateway sees what stood in the key's place")
	}
	resp, body := get(t, l.URL()+"/v1/refunds", caller.KeyHeader, key.Reveal())
	if resp.StatusCode != 401 || !strings.Contains(body, `"code":"mayfly_no_identity"`) || !strings.Contains(body, "Next:") {
		t.Error("elsewhere the key counts, or the answer is not Stripe's:", resp.Status, body)
	}
	for _, v := range []string{"STRIPE_API_BASE=" + l.URL(), "STRIPE_API_KEY=" + key.Reveal(), "MAYFLY_URL=" + l.URL(), "MAYFLY_KEY=" + key.Reveal()} {
		if !slices.Contains(form.Environment(l.URL(), key), v) {
			t.Error("the environment lacks", v)
		}
	}
}

// A Unix socket knows who opened it: no key is needed, and the app's own
// authorization is left alone.
func TestASocketNeedsNoKey(t *testing.T) {
	w := newWorld(t, echo())
	path := filepath.Join(t.TempDir(), "s")
	l := run(t, caller.Config{Socket: path, Form: caller.FormOf("web"), Door: w.door(t, w.source(t))})
	if l.URL() != "unix:"+path || l.Port() != 0 {
		t.Error(l.URL(), l.Port())
	}
	if status, body := raw(t, "unix", path, "GET /a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer app\r\n\r\n"); status != 200 {
		t.Fatal(status, body)
	}
	if got := w.arrived()[0].Header.Get("Authorization"); got != "Bearer app" {
		t.Errorf("the app is sent %q", got)
	}
	if status, _ := raw(t, "unix", path, "GET /a HTTP/1.1\r\nHost: evil.example\r\n\r\n"); status != 403 {
		t.Error("any host will do:", status)
	}
	if _, err := caller.Open(caller.Config{Socket: path, Host: appHost, Form: caller.FormOf("web"), Door: w.door(t, w.source(t))}); err == nil {
		t.Error("a socket that is served was taken over")
	}
}

func TestASocketThatAKilledProcessLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	check(t, err)
	old.SetUnlinkOnClose(false)
	check(t, old.Close())
	l, err := caller.Open(caller.Config{Socket: path, Host: appHost, Door: http.DefaultTransport})
	check(t, err)
	check(t, l.Close())
}

func TestConfigurationsThatLetAnybodyInAreRefused(t *testing.T) {
	key := caller.NewSecret("mk_")
	good := caller.Config{Address: loopback(), Host: appHost, Secret: key, Door: http.DefaultTransport}
	for name, change := range map[string]func(*caller.Config){
		"nowhere to listen":     func(c *caller.Config) { c.Address = netip.AddrPort{} },
		"two places":            func(c *caller.Config) { c.Socket = "/tmp/x" },
		"every address":         func(c *caller.Config) { c.Address = netip.MustParseAddrPort("0.0.0.0:0") },
		"an outer address":      func(c *caller.Config) { c.Address = netip.MustParseAddrPort("192.0.2.1:0") },
		"a port without a key":  func(c *caller.Config) { c.Secret = caller.Secret{} },
		"no host":               func(c *caller.Config) { c.Host = "" },
		"a host with a port":    func(c *caller.Config) { c.Host = "a.example:443" },
		"no way to the gateway": func(c *caller.Config) { c.Door = nil },
	} {
		c := good
		change(&c)
		if l, err := caller.Open(c); err == nil {
			t.Error(name, "was taken:", l.Close())
		}
	}
	l, err := caller.Open(good)
	check(t, err)
	check(t, l.Close())
}

func TestASecretPrintsAsRedacted(t *testing.T) {
	s := caller.NewSecret("rk_live_")
	b, err := json.Marshal(map[string]any{"s": s})
	check(t, err)
	for _, text := range []string{s.String(), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), string(b), s.LogValue().String()} {
		if strings.Contains(text, s.Reveal()) || !strings.Contains(text, "redacted") {
			t.Errorf("%.20s…", text)
		}
	}
	if !strings.HasPrefix(s.Reveal(), "rk_live_") || s.Reveal() == caller.NewSecret("rk_live_").Reveal() {
		t.Error("not a fresh key of that form")
	}
}

// What the gateway says is passed on, and its reason is told.
func TestTheGatewaysRefusalIsPassedOnAndTold(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Mayfly-Reason", "revoked")
		w.WriteHeader(403)
	}))
	key := caller.NewSecret("mk_")
	told := make(chan grant.Reason, 1)
	c := webConfig(w, t, key)
	c.Told = func(r grant.Reason) { told <- r }
	l := run(t, c)
	if resp, _ := get(t, l.URL(), caller.KeyHeader, key.Reveal()); resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
	if r := <-told; r != grant.Revoked {
		t.Error(r)
	}
}

// doorOf is any way to the gateway: what proves a person will be another.
type doorOf func(*http.Request) (*http.Response, error)

func (f doorOf) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnyDoorWillDo(t *testing.T) {
	key := caller.NewSecret("mk_")
	l := run(t, caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: doorOf(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != "https://"+appHost+"/x" {
			t.Error(r.URL)
		}
		rec := httptest.NewRecorder()
		rec.WriteHeader(204)
		return rec.Result(), nil
	})})
	if resp, _ := get(t, l.URL()+"/x", caller.KeyHeader, key.Reveal()); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
}
