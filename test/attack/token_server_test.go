package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/tokens"
)

// TestTokenServerGivesAThiefNothing has somebody who read alice's session file, but for
// the key, go to the authorization server with what they have.
func TestTokenServerGivesAThiefNothing(t *testing.T) {
	w := theWorld(t)
	secret, _, err := w.Secret(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	own, err := tokens.NewProver()
	if err != nil {
		t.Fatal(err)
	}
	thief, err := w.Client(secret, own)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := thief.Whoami(t.Context()); err == nil {
		t.Errorf("the thief is %s at the API", who.Principal)
	}
	form := func(more ...string) url.Values {
		v := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "resource": {"https://" + env.WikiHost},
			"subject_token": {secret}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	for name, v := range map[string]url.Values{
		"as it is":               form(),
		"as a JWT-SVID":          form("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
		"as an ID token":         form("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
		"as a code":              {"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {secret}, "code_verifier": {secret}, "redirect_uri": {"http://127.0.0.1:20000/callback"}},
		"as a refresh token":     {"grant_type": {"refresh_token"}, "refresh_token": {secret}},
		"as a client's password": {"grant_type": {"client_credentials"}, "client_id": {api.ClientID}, "client_secret": {secret}, "resource": {"https://" + env.WikiHost}},
		"as an actor":            form("actor_token", secret, "actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
	} {
		if _, err := thief.Token(t.Context(), v); err == nil {
			t.Errorf("%s: the thief has a token", name)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the refusal tells the session", name)
		}
	}
	v := w.visitor(t)
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		p := look(t, v, http.MethodPost, w.Public+path, "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer "+secret)
		if p.Status < 400 || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, p.Status, p.Header)
		}
	}
}

// TestTokenServerSendsCodesToLoopbackOnly has somebody send alice a link that logs her in
// for an address of theirs.
func TestTokenServerSendsCodesToLoopbackOnly(t *testing.T) {
	w := theWorld(t)
	v := w.visitor(t)
	for _, to := range []string{
		"https://evil.example/callback", "http://evil.example:40000/callback", "http://127.0.0.1:40000@evil.example/callback",
		"http://127.0.0.1.evil.example:40000/callback", "http://localhost:40000/callback", "javascript:alert(1)", "http://127.0.0.1:40000/callback#x", "//evil.example/callback",
	} {
		q := url.Values{
			"response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {to}, "idp": {"idp"},
			"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
		}
		p := look(t, v, http.MethodGet, w.Public+"/oauth/authorize?"+q.Encode())
		if p.Status < 400 || p.Header.Get("Location") != "" {
			t.Errorf("%s: %d, sent to %q", to, p.Status, p.Header.Get("Location"))
		}
	}
}
