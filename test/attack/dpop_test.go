package attack

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/tokens"
)

// program is what holds a DPoP key and a token that is bound to it, at the door for
// clients of the gateway.
type program struct {
	w     *world
	t     testing.TB
	http  *http.Client
	key   tokens.Prover
	token string
	nonce string
}

const boardPath = "/tickets/7"

// program has the token service give alice's command a token for the board.
func (w *world) program(t testing.TB) *program {
	t.Helper()
	secret, key, err := w.Secret(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.Client(secret, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Token(t.Context(), url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {api.ClientID}, "resource": {"https://" + env.BoardHost},
		"subject_token": {secret}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{w: w, t: t, key: key, token: got.AccessToken, http: w.towards(t, w.gw.Clients)}
	resp := p.send(p.request("GET", "DPoP "+p.token, p.prove("GET", p.url(), p.token, time.Now())))
	if p.nonce = resp.nonce; resp.status != http.StatusUnauthorized || p.nonce == "" {
		t.Fatalf("a proof without a nonce: %d %s, want 401 with one", resp.status, resp.text)
	}
	return p
}

// towards is a client without a certificate whose every connection goes to an address.
func (w *world) towards(t testing.TB, address string) *http.Client {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.Roots(), MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (p *program) url() string { return p.w.ClientURL(env.BoardHost, boardPath) }

func (p *program) prove(method, address, token string, at time.Time) string {
	p.t.Helper()
	proof, err := p.key.Prove(method, address, token, p.nonce, at)
	if err != nil {
		p.t.Fatal(err)
	}
	return proof
}

func (p *program) request(method, authorization string, proofs ...string) *http.Request {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	r.Header["Dpop"] = proofs
	return r
}

type heard struct {
	status             int
	reason, told, text string
	nonce              string
}

func (p *program) send(r *http.Request) heard {
	p.t.Helper()
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return heard{resp.StatusCode, resp.Header.Get("Mayfly-Reason"), resp.Header.Get("WWW-Authenticate"), string(b), resp.Header.Get("DPoP-Nonce")}
}

// good is a request as it must be, with a proof of its own.
func (p *program) good() *http.Request {
	return p.request("GET", "DPoP "+p.token, p.prove("GET", p.url(), p.token, time.Now()))
}

func TestDpopLetsTheHolderOfTheKeyIn(t *testing.T) {
	w := theWorld(t)
	p := w.program(t)
	for range 3 {
		if got := p.send(p.good()); got.status != 200 {
			t.Fatalf("%d %s, want 200", got.status, got.text)
		}
	}
	all := w.board.Arrivals()
	if last := all[len(all)-1]; last.Authorization != "" || last.Header.Get("Dpop") != "" {
		t.Errorf("the app is given %q and %q", last.Authorization, last.Header.Get("Dpop"))
	}
}

// Whoever has the token's text, and everything that ever came with it, has nothing.
func TestDpopOfAThiefIsRefused(t *testing.T) {
	w := theWorld(t)
	p := w.program(t)
	used := p.good()
	if got := p.send(used); got.status != 200 {
		t.Fatalf("%d %s, want 200", got.status, got.text)
	}
	thief, err := tokens.NewProver()
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.board.Arrivals())
	auth := "DPoP " + p.token
	for name, r := range map[string]func() *http.Request{
		"the same proof again":       func() *http.Request { return p.request("GET", auth, used.Header["Dpop"]...) },
		"the proof for another path": func() *http.Request { return p.request("GET", auth, p.prove("GET", p.url()+"8", p.token, time.Now())) },
		"for another method":         func() *http.Request { return p.request("DELETE", auth, p.prove("GET", p.url(), p.token, time.Now())) },
		"for another host": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", w.ClientURL(env.WikiHost, boardPath), p.token, time.Now()))
		},
		"for the port of https": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", "https://"+env.BoardHost+boardPath, p.token, time.Now()))
		},
		"for plain http": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", strings.Replace(p.url(), "https", "http", 1), p.token, time.Now()))
		},
		"for no token": func() *http.Request { return p.request("GET", auth, p.prove("GET", p.url(), "", time.Now())) },
		"of two minutes ago": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", p.url(), p.token, time.Now().Add(-2*time.Minute)))
		},
		"of the future": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", p.url(), p.token, time.Now().Add(2*time.Minute)))
		},
		"no proof": func() *http.Request { return p.request("GET", auth) },
		"two proofs": func() *http.Request {
			return p.request("GET", auth, p.prove("GET", p.url(), p.token, time.Now()), p.prove("GET", p.url(), p.token, time.Now()))
		},
		"as a bearer": func() *http.Request {
			return p.request("GET", "Bearer "+p.token, p.prove("GET", p.url(), p.token, time.Now()))
		},
		"a bearer alone":        func() *http.Request { return p.request("GET", "Bearer "+p.token) },
		"the proof for a token": func() *http.Request { return p.request("GET", "DPoP "+p.prove("GET", p.url(), p.token, time.Now())) },
		"a proof of the thief's key": func() *http.Request {
			proof, err := thief.Prove("GET", p.url(), p.token, p.nonce, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return p.request("GET", auth, proof)
		},
		"two tokens": func() *http.Request {
			r := p.good()
			r.Header["Authorization"] = []string{auth, "Bearer x"}
			return r
		},
		"the cookie of a live session": func() *http.Request {
			r := p.request("GET", "")
			r.Header.Set("Cookie", "__Host-mayfly="+strings.Repeat("A", 43))
			return r
		},
		"headers that say who calls": func() *http.Request {
			r := p.request("GET", "")
			r.Header.Set("X-Mayfly-Assertion", p.token)
			r.Header.Set("X-Auth-User", forged)
			return r
		},
	} {
		if got := p.send(r()); got.status < 400 || got.status == 401 && !strings.HasPrefix(got.told, "DPoP ") {
			t.Errorf("%s: %d %s, told %q", name, got.status, got.text, got.told)
		}
	}
	if n := len(w.board.Arrivals()); n != before {
		t.Errorf("%d refused requests reached the app", n-before)
	}
	if got := p.send(p.good()); got.status != 200 {
		t.Errorf("the holder is kept out after a thief's tries: %d %s", got.status, got.text)
	}
}

// A token that is bound to a key counts nowhere else: not beside a certificate, not at
// the API.
func TestDpopTokenCountsAtNoOtherDoor(t *testing.T) {
	w := theWorld(t)
	p := w.program(t)
	reporter, err := w.Caller(t.Context(), "reporter", w.gw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reporter.Close)
	for _, scheme := range []string{"Bearer ", "DPoP "} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+env.BoardHost+boardPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", scheme+p.token)
		resp, err := reporter.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 || resp.Header.Get("Mayfly-Reason") != "token_not_bound" {
			t.Errorf("%s at the door for workloads: %s %s", scheme, resp.Status, resp.Header.Get("Mayfly-Reason"))
		}
	}
}
