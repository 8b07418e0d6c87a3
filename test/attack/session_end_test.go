package attack

import (
	"errors"
	"net/http"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// TestSessionIsOverAtTheNextRequest steals a session's cookie, and uses it after each
// thing that ends the session: the thief, who got in before, gets in no more.
func TestSessionIsOverAtTheNextRequest(t *testing.T) {
	w := theWorld(t)
	page := w.App(env.WikiHost, "/team")
	for _, c := range []struct {
		name string
		end  func(t *testing.T, v *env.Visitor, who string)
	}{
		{"logout on the host", func(t *testing.T, v *env.Visitor, _ string) {
			p, err := v.Submit(t.Context(), w.App(env.WikiHost, "/.mayfly/logout"), nil)
			if err != nil || p.Status != http.StatusOK {
				t.Fatal(p.Status, p.Text, err)
			}
		}},
		{"logout at the console", func(t *testing.T, v *env.Visitor, _ string) {
			p, err := v.Submit(t.Context(), w.Public+"/logout", nil)
			if err != nil || p.Status != http.StatusOK {
				t.Fatal(p.Status, p.Text, err)
			}
		}},
		{"logout at the provider", func(t *testing.T, _ *env.Visitor, who string) {
			if err := w.IdP.Logout(t.Context(), who); err != nil {
				t.Fatal(err)
			}
		}},
		{"a lock", func(t *testing.T, _ *env.Visitor, who string) {
			if _, err := w.bob.Lock(t.Context(), api.LockVerdict{Target: "user:idp:" + who, Reason: "case 12"}); err != nil {
				t.Fatal(err)
			}
		}},
		{"disabled at the provider", func(_ *testing.T, _ *env.Visitor, who string) { w.IdP.RemoveUser(who) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			who := "dora-" + secret()[:6]
			w.newcomer(t, who)
			v := w.visitor(t)
			stolen := enter(t, v, page, who)
			console := v.Cookies(w.Public)[api.ConsoleCookie]
			thief := w.visitor(t)
			try := func() env.Page {
				return look(t, thief, http.MethodGet, page, append(script, "Cookie", "__Host-mayfly="+stolen)...)
			}
			if p := try(); p.Status != http.StatusOK {
				t.Fatalf("before: %d %s", p.Status, p.Text)
			}
			c.end(t, v, who)
			eventually(t, "the gateway is told", func() error {
				if p := try(); p.Status == http.StatusOK {
					return errors.New("not yet")
				}
				return nil
			})
			w.watch(t) // from here on nothing arrives
			refused(t, "the thief", try(), http.StatusUnauthorized, http.StatusForbidden)
			refused(t, "the thief, to see a page", look(t, thief, http.MethodGet, page, "Cookie", "__Host-mayfly="+stolen), http.StatusFound, http.StatusForbidden)
			status := http.StatusSeeOther // to log in
			if c.name == "logout on the host" {
				status = http.StatusOK // there only
			}
			refused(t, "at the console", look(t, thief, http.MethodGet, w.Public+"/", "Cookie", api.ConsoleCookie+"="+console), status)
		})
	}
}
