package server_test

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// A gateway that asks for a fresh login gets one, although the browser is logged in.
func TestALoginIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	b, start := w.browser(), appLogin("reports", "reports.acme.example", hashOf("entry"))
	b.login(start, "alice")
	if to := b.to(start + "&max_age=600"); !strings.HasPrefix(to, "https://reports.acme.example/") {
		t.Errorf("a login of this minute is not enough for ten: sent to %s", to)
	}
	asked := func(more string) url.Values {
		to := b.to(start + more)
		u, err := url.Parse(to)
		check(t, err)
		if !strings.HasPrefix(to, w.idp.Issuer()) {
			t.Fatalf("%s: sent to %s, want the provider", more, to)
		}
		return u.Query()
	}
	if got := asked("&acr=phrh+urn%3Aacme%3Amfa"); got.Get("acr_values") != "phrh urn:acme:mfa" || got.Has("max_age") {
		t.Errorf("the provider is asked for %v", got)
	}
	w.pass(11 * time.Minute)
	if got := asked("&max_age=600"); got.Get("max_age") != "600" || got.Get("state") == "" {
		t.Errorf("the provider is asked for %v", got)
	}
	for _, bad := range []string{"&max_age=0", "&max_age=x", "&acr=" + url.QueryEscape("a\"b"), "&acr=" + strings.Repeat("a+", 9)} {
		if res := b.send("GET", start+bad, nil); res.Code != 422 && res.Code != 400 {
			t.Errorf("%s: %d", bad, res.Code)
		}
	}
}
