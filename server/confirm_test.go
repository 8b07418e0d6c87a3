package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/server"
)

// Whoever has a browser open the address of a login has no code of it: its person is
// asked first, on a page that tells who asks, and nothing but their own answer counts.
func TestNoCodeBeforeItsPersonSaysYes(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(*world, *server.Config)
	}{
		{"with pages", func(_ *world, c *server.Config) { c.Pages = drawn{} }},
		{"without pages", func(*world, *server.Config) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorldWith(t, c.open)
			b := w.browser()
			ask := b.asked(b.get(b.answer(commandLogin, "alice")))
			if ask.Name != "alice" || ask.Principal != "user:idp:alice" || ask.Address != "127.0.0.1:40000" || ask.Code != "ABCDE-FGHIJ" || len(ask.Token) != 43 {
				t.Errorf("asked %+v", ask)
			}
			form := url.Values{"token": {ask.Token}, "answer": {"continue"}}.Encode()
			if res := b.send("GET", "/login/confirm?"+form, ownPage()); res.Code != http.StatusMethodNotAllowed {
				t.Errorf("a link answers: %d", res.Code)
			}
			for name, from := range map[string]http.Header{
				"another site":       {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
				"a sibling host":     {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://evil.acme.example"}},
				"no page":            {"Sec-Fetch-Site": {"none"}},
				"an old browser":     {"Origin": {"https://evil.example"}},
				"a sandbox":          {"Origin": {"null"}},
				"what says nothing":  {},
				"two that disagree":  {"Sec-Fetch-Site": {"same-origin", "cross-site"}},
				"the loopback's own": {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://127.0.0.1:40000"}},
			} {
				if res := b.confirm(ask.Token, "continue", from); res.Code != http.StatusForbidden {
					t.Errorf("%s answers: %d %s", name, res.Code, res.Body)
				}
			}
			thief := w.browser()
			_ = thief.answer(commandLogin, "bob") // has a cookie of its own
			for name, other := range map[string]*browser{"another browser": thief, "a browser without cookies": w.browser()} {
				if res := other.confirm(ask.Token, "continue", ownPage()); res.Code != http.StatusUnauthorized {
					t.Errorf("%s answers: %d %s", name, res.Code, res.Body)
				}
			}
			if len(w.codes.made) != 0 {
				t.Fatalf("codes for %+v", w.codes.made)
			}
			res := b.confirm(ask.Token, "continue", http.Header{"Origin": {public}})
			if to := res.Header().Get("Location"); res.Code != http.StatusSeeOther || !strings.HasPrefix(to, "http://127.0.0.1:40000/callback?code=") || len(w.codes.made) != 1 {
				t.Fatalf("the person's own answer: %d to %q: %s", res.Code, to, res.Body)
			}
			if res := b.confirm(ask.Token, "continue", ownPage()); res.Code != http.StatusUnauthorized || len(w.codes.made) != 1 {
				t.Errorf("once more: %d", res.Code)
			}
		})
	}
}

func TestCancelledLoginTellsTheCommand(t *testing.T) {
	w := newWorld(t)
	token := w.me.asked(w.me.get("/oidc/idp/callback?" + w.browse(w.begin(), "alice"))).Token
	res := w.me.confirm(token, "cancel", ownPage())
	to, err := res.Result().Location()
	check(t, err)
	if q := to.Query(); to.Host != "127.0.0.1:40000" || q.Get("error") == "" || q.Has("code") || !strings.Contains(q.Get("error_description"), "cancelled") {
		t.Errorf("sent to %s", to)
	}
	want(t, "another mind", w.me.confirm(token, "continue", ownPage()), 401, "no_session")
	if len(w.codes.made) != 0 {
		t.Errorf("codes for %+v", w.codes.made)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	w := newWorld(t)
	token := w.me.asked(w.me.get("/oidc/idp/callback?" + w.browse(w.begin(), "alice"))).Token
	h := ownPage()
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, body := range map[string]string{
		"no token":       "answer=continue",
		"no answer":      "token=" + token,
		"another answer": "answer=yes&token=" + token,
		"two answers":    "answer=continue&answer=cancel&token=" + token,
		"two tokens":     "answer=continue&token=x&token=" + token,
		"a long form":    "answer=continue&token=" + token + "&more=" + strings.Repeat("x", 2000),
	} {
		want(t, name, w.me.sendBody("POST", "/login/confirm", h, body), 400, "bad_login")
	}
	want(t, "in the address", w.me.sendBody("POST", "/login/confirm?answer=continue&token="+token, h, "answer=continue&token="+token), 400, "bad_login")
	h.Set("Content-Type", "text/plain")
	want(t, "no form", w.me.sendBody("POST", "/login/confirm", h, "answer=continue&token="+token), 400, "bad_login")
	w.pass(3*time.Minute + time.Second)
	want(t, "after three minutes", w.me.confirm(token, "continue", ownPage()), 401, "no_session")
	if len(w.codes.made) != 0 {
		t.Errorf("codes for %+v", w.codes.made)
	}
}

// A command whose login cannot begin is told so, and does not wait for a browser that
// stands before a page.
func TestLoginThatCannotBegin(t *testing.T) {
	w := newWorldWith(t, func(w *world, c *server.Config) {
		c.Providers = append(c.Providers, w.provider("partner"))
		c.Pages = drawn{}
	})
	told := func(name, path, code, says string) {
		t.Helper()
		res := w.browser().get(path)
		to, err := url.Parse(res.Header().Get("Location"))
		check(t, err)
		if q := to.Query(); res.Code != http.StatusSeeOther || to.Host != "127.0.0.1:40000" || q.Get("error") != code || !strings.Contains(q.Get("error_description"), says) || q.Get("kept") != kept {
			t.Errorf("%s: %d to %q", name, res.Code, to)
		}
	}
	told("no such provider", commandLogin+"&idp=wrong", "bad_login", "idp, partner")
	w.idp.SetDown(true)
	told("a provider that is down", commandLogin+"&idp=partner", "provider_unavailable", "does not answer")
	w.idp.SetDown(false)
	for range 40 {
		w.browser().get(commandLogin)
	}
	told("too many", commandLogin, "rate_limited", "too many tries")
}
