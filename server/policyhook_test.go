package server_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/server"
)

const hookSecret = "0123456789abcdef0123456789abcdef"

// push is what a forge sends.
func push(w *world, body string, signatures ...string) int {
	r := httptest.NewRequest("POST", "/hooks/policy", strings.NewReader(body))
	for _, s := range signatures {
		r.Header.Add("X-Hub-Signature-256", s)
	}
	res := httptest.NewRecorder()
	w.public.ServeHTTP(res, r)
	return res.Code
}

func signHook(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestAForgeTellsOfANewCommit(t *testing.T) {
	looks := 0
	w := newWorldWith(t, func(_ *world, c *server.Config) {
		c.PolicyHook = &server.PolicyHook{Secret: []byte(hookSecret), Pushed: func() { looks++ }}
	})
	body := `{"ref":"refs/heads/main"}`
	good := signHook(hookSecret, body)
	if code := push(w, body, good); code != http.StatusAccepted || looks != 1 {
		t.Fatalf("answered with %d, looked %d times", code, looks)
	}
	for name, c := range map[string]struct {
		body       string
		signatures []string
	}{
		"unsigned":            {body, nil},
		"another secret":      {body, []string{signHook("another", body)}},
		"of another body":     {body + " ", []string{good}},
		"of SHA-1":            {body, []string{"sha1=" + strings.TrimPrefix(good, "sha256=")}},
		"no hexadecimal":      {body, []string{"sha256=zz"}},
		"cut short":           {body, []string{good[:len(good)-2]}},
		"two of them":         {body, []string{good, good}},
		"one wrong and right": {body, []string{"sha256=00", good}},
	} {
		if code := push(w, c.body, c.signatures...); code != http.StatusUnauthorized || looks != 1 {
			t.Errorf("%s: answered with %d, looked %d times", name, code, looks)
		}
	}
	large := strings.Repeat(" ", 8<<20+1)
	if code := push(w, large, signHook(hookSecret, large)); code != http.StatusRequestEntityTooLarge || looks != 1 {
		t.Errorf("too large: answered with %d, looked %d times", code, looks)
	}
	for range 40 {
		push(w, body, "sha256=00")
	}
	if code := push(w, body, good); code != http.StatusTooManyRequests || looks != 1 {
		t.Errorf("after many guesses: answered with %d, looked %d times", code, looks)
	}
}

func TestNoForgeTellsAnythingUnlessItMay(t *testing.T) {
	w := newWorld(t)
	if code := push(w, "", signHook("", "")); code != http.StatusNotFound {
		t.Errorf("answered with %d", code)
	}
}
