package api_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
)

// client speaks to a server that answers with h.
func client(t *testing.T, session string, h http.HandlerFunc) *api.Client {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	c, err := api.NewClient(api.ClientConfig{Server: s.URL, HTTP: s.Client(), Session: session, Prover: prover{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prover shows what it was asked to prove.
type prover struct{}

func (prover) Prove(method, url, token, nonce string, _ time.Time) (string, error) {
	return method + " " + url + " " + token + " " + nonce, nil
}

func TestSessionNeedsItsKey(t *testing.T) {
	if _, err := api.NewClient(api.ClientConfig{Server: "https://mayfly.acme.example", HTTP: http.DefaultClient, Session: "s3cret"}); err == nil {
		t.Error("a session without its key is a client")
	}
}

// A server that wants a nonce gives one, and the call is sent once more; the nonce is
// kept for the next.
func TestNonce(t *testing.T) {
	var proofs []string
	c := client(t, "s3cret", func(w http.ResponseWriter, r *http.Request) {
		proofs = append(proofs, r.Header.Get("DPoP"))
		w.Header().Set("DPoP-Nonce", "n1")
		if !strings.HasSuffix(r.Header.Get("DPoP"), " n1") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	})
	for range 2 {
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(proofs) != 3 {
		t.Errorf("sent %q", proofs)
	}
	never := client(t, "s3cret", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("DPoP-Nonce", rand.Text())
		w.WriteHeader(http.StatusUnauthorized)
	})
	if _, err := never.Whoami(t.Context()); err == nil {
		t.Error("refused for ever, and no error")
	}
}

func TestTokenAnswers(t *testing.T) {
	status, body := 200, `{"access_token":"t0ken","token_type":"DPoP","expires_in":300}`
	c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.URL.Path != "/oauth/token" || r.PostForm.Get("a") != "b" {
			t.Errorf("%s %v", r.URL, r.PostForm)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	got, err := c.Token(t.Context(), url.Values{"a": {"b"}})
	if err != nil || got.AccessToken != "t0ken" || got.ExpiresIn != 300 || strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), "t0ken") {
		t.Errorf("%v, %v", got, err)
	}
	status, body = 400, `{"error":"invalid_target","error_description":"no such app"}`
	var refusal *api.OAuthError
	if _, err := c.Token(t.Context(), url.Values{"a": {"b"}}); !errors.As(err, &refusal) || refusal.Code != "invalid_target" || refusal.Status != 400 {
		t.Errorf("%v", err)
	}
	for _, body = range []string{"<html>", "{}"} {
		if _, err := c.Token(t.Context(), url.Values{"a": {"b"}}); err == nil || errors.As(err, &refusal) && refusal.Code == "" {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestServerAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://mayfly.acme.example:8443": true, "https://mayfly.acme.example/": true, "https://[::1]:8443": true,
		"": false, "mayfly.acme.example": false, "http://mayfly.acme.example": false, "https://a:b@mayfly.acme.example": false,
		"https://mayfly.acme.example/api": false, "https://mayfly.acme.example?x": false, "https://": false,
	} {
		if _, err := api.NewClient(api.ClientConfig{Server: address, HTTP: http.DefaultClient}); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestClientSends(t *testing.T) {
	c := client(t, "s3cret", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if r.Method != "POST" || r.URL.Path != "/api/v1/requests" || r.Header.Get("Authorization") != "DPoP s3cret" || r.Header.Get("DPoP") != "POST "+"https://"+r.Host+r.URL.Path+" s3cret" ||
			r.Header.Get(api.KeyHeader) != "k" || r.Header.Get("Content-Type") != "application/json" || in["entitlement"] != "a/b" {
			t.Errorf("%s %s %v %v", r.Method, r.URL, r.Header, in)
		}
		_, _ = io.WriteString(w, `{"id":"req_1","state":"pending","something_new":1}`)
	})
	r, err := c.Request(t.Context(), api.Ask{Entitlement: "a/b"}, "k")
	if err != nil || r.ID != "req_1" {
		t.Errorf("%+v, %v", r, err)
	}
}

// An id is one part of the path, whatever stands in it.
func TestIdsCannotChangeTheAddress(t *testing.T) {
	c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"id":`+quote(r.RequestURI)+`}`)
	})
	for id, want := range map[string]string{
		"a/b":         "/api/v1/trace/a%2Fb",
		"../whoami":   "/api/v1/trace/..%2Fwhoami",
		"x?y=1#z":     "/api/v1/trace/x%3Fy=1%23z",
		"a b":         "/api/v1/trace/a%20b",
		"%2e%2e%2fup": "/api/v1/trace/%252e%252e%252fup",
	} {
		if got, err := c.Trace(t.Context(), id); err != nil || got.ID != want {
			t.Errorf("%q asks for %s, %v", id, got.ID, err)
		}
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		status     int
		want       api.Problem
	}{
		"a problem": {"application/problem+json", `{"title":"T","detail":"D","code":"not_found","status":200}`, 404,
			api.Problem{Title: "T", Detail: "D", Code: "not_found", Status: 404}},
		"a page of some proxy": {"text/html", "<h1>Bad gateway</h1>", 502, api.Problem{Title: "Not an answer of Mayfly", Code: "no_problem", Status: 502}},
		"no problem inside":    {"application/problem+json", `[]`, 500, api.Problem{Title: "Not an answer of Mayfly", Code: "no_problem", Status: 500}},
		"a redirect":           {"text/plain", "", 302, api.Problem{Title: "Not an answer of Mayfly", Code: "no_problem", Status: 302}},
	} {
		cl := client(t, "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := cl.Whoami(t.Context())
		var p *api.Problem
		if !errors.As(err, &p) || p.Title != c.want.Title || p.Code != c.want.Code || p.Status != c.want.Status || strings.Contains(p.Error(), "<h1>") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An export that was cut is an error of its reader, never a short record.
func TestExportCut(t *testing.T) {
	c := client(t, "", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	r, err := c.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("half an export reads like a whole one")
	}
}
