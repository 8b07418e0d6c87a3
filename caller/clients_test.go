package caller_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// clientsDoor is a gateway that takes tokens with a proof, and wants its nonce in it.
type clientsDoor struct {
	address string
	roots   *x509.CertPool
	refused atomic.Int32 // for want of the nonce

	mu    sync.Mutex
	nonce string
	seen  []*http.Request
}

func newClientsDoor(t *testing.T) *clientsDoor {
	t.Helper()
	ca := devtest.CA(t)
	cert, err := ca.Mint(dev.Template{DNS: []string{appHost}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	check(t, err)
	d := &clientsDoor{roots: x509.NewCertPool(), nonce: "n1"}
	for _, root := range ca.Roots() {
		d.roots.AddCert(root)
	}
	s := httptest.NewUnstartedServer(d)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	d.address = s.Listener.Addr().String()
	return d
}

// ServeHTTP takes a proof for what a test of package tokens holds it to: here its
// statement is read.
func (d *clientsDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var p map[string]string
	_ = json.Unmarshal([]byte(r.Header.Get("DPoP")), &p)
	if p["nonce"] != d.nonce {
		d.refused.Add(1)
		w.Header().Set("DPoP-Nonce", d.nonce)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	d.seen = append(d.seen, r)
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %s", p["method"], p["url"], r.Header.Get("Authorization"), b)
}

// next is the nonce that it wants from now on.
func (d *clientsDoor) next(nonce string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nonce = nonce
}

func prove(method, url, token, nonce string, _ time.Time) (string, error) {
	b, err := json.Marshal(map[string]string{"method": method, "url": url, "token": token, "nonce": nonce})
	return string(b), err
}

// A person's program is proven by a token and a fresh proof of its key, for exactly
// the request; a nonce that is wanted is given without the program noticing.
func TestAPersonsWayToTheGateway(t *testing.T) {
	d := newClientsDoor(t)
	asked := 0
	now := time.Now()
	clients, err := caller.NewClients(caller.ClientsConfig{
		Gateway: d.address, Host: appHost, Roots: d.roots, Prove: prove, Now: func() time.Time { return now },
		Token: func(context.Context) (string, time.Time, error) {
			asked++
			return fmt.Sprintf("token%d", asked), now.Add(5 * time.Minute), nil
		},
	})
	check(t, err)
	t.Cleanup(clients.Close)
	key := caller.NewSecret("mk_")
	l := run(t, caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: clients})
	_, port, _ := net.SplitHostPort(d.address)
	post := func(body io.Reader) (int, string) {
		t.Helper()
		r := request(t, t.Context(), "POST", l.URL()+"/a?b=c", body, key)
		r.Header.Set("Authorization", "Bearer something-else")
		resp, err := http.DefaultClient.Do(r)
		check(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(b)
	}
	want := "POST https://" + appHost + ":" + port + "/a DPoP token1 body"
	for i, nonce := range []string{"n1", "n1", "n2"} {
		d.next(nonce)
		if status, got := post(strings.NewReader("body")); status != 200 || got != want {
			t.Errorf("%d: %d %q, want %q", i, status, got, want)
		}
	}
	if n := d.refused.Load(); n != 2 {
		t.Errorf("%d requests were without the nonce, want one for each new nonce", n)
	}
	// What cannot be sent again is refused once, and passes at the next try.
	d.next("n3")
	if status, _ := post(io.MultiReader(strings.NewReader("bo"), strings.NewReader("dy"))); status != 401 {
		t.Error("a stream was sent twice, or the gateway was not asked:", status)
	}
	if status, got := post(io.MultiReader(strings.NewReader("bo"), strings.NewReader("dy"))); status != 200 || got != want {
		t.Error(status, got)
	}
	now = now.Add(4*time.Minute + 31*time.Second)
	if _, got := post(strings.NewReader("body")); !strings.Contains(got, "token2") || asked != 2 {
		t.Errorf("with half a minute left the token is still %q, asked %d times", got, asked)
	}
	for _, r := range d.seen {
		if r.Host != appHost+":"+port || strings.Contains(fmt.Sprint(r.Header), key.Reveal()) {
			t.Errorf("sent to %s with %v", r.Host, r.Header)
		}
	}
}

func TestWhatKeepsAPersonFromTheGateway(t *testing.T) {
	d := newClientsDoor(t)
	good := caller.ClientsConfig{
		Gateway: d.address, Host: appHost, Roots: d.roots, Prove: prove,
		Token: func(context.Context) (string, time.Time, error) { return "t", time.Now().Add(time.Minute), nil },
	}
	for _, c := range []struct {
		name   string
		change func(*caller.ClientsConfig)
		status int
		say    string
	}{
		{"no token", func(c *caller.ClientsConfig) {
			c.Token = func(context.Context) (string, time.Time, error) {
				return "", time.Time{}, errors.New("the grant has ended")
			}
		}, 401, "gives no token: the grant has ended"},
		{"no gateway", func(c *caller.ClientsConfig) { c.Gateway = "127.0.0.1:1" }, 502, "cannot be reached"},
		{"a certificate of others", func(c *caller.ClientsConfig) { c.Roots = x509.NewCertPool() }, 502, "is not trusted"},
		{"a certificate for another host", func(c *caller.ClientsConfig) { c.Host = "wiki.acme.example" }, 502, "is not trusted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good
			c.change(&config)
			clients, err := caller.NewClients(config)
			check(t, err)
			t.Cleanup(clients.Close)
			key := caller.NewSecret("mk_")
			l := run(t, caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: clients})
			if resp, body := get(t, l.URL(), caller.KeyHeader, key.Reveal()); resp.StatusCode != c.status || !strings.Contains(body, c.say) || !strings.Contains(body, `"next"`) {
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
	if len(d.seen) > 0 {
		t.Error("something got through")
	}
}
