package oauth_test

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/tokens"
)

func resource(app string) string { return "https://" + app + ".acme.example" }

// onward is what the policy of the world lets each app pass access on to.
func onward() map[string][]string {
	return map[string][]string{"shop": {"bank", "stock"}, "stock": {"bank", "wiki"}, "bank": {"stock"}, "wiki": nil}
}

func TestOnward(t *testing.T) {
	w := newWorld(t)
	for _, app := range []string{"shop", "stock", "bank", "wiki"} {
		w.grantOf(me, app+"/read", time.Hour, nil)
	}
	first, c1 := w.issued("a token for shop", w.do(call{form: credentials(), cert: w.svid(client)}))
	pass := func(token, from, to string, more ...string) call {
		return call{form: exchanged(token, typeAccess, append([]string{"resource", resource(to)}, more...)...), cert: w.svid(appOf(from))}
	}
	second, c2 := w.issued("shop passes on to stock", w.do(pass(first.AccessToken, "shop", "stock")))
	sum := sha256.Sum256(w.svid(appOf("shop")).Certificate[0])
	if c2.Subject != c1.Subject || c2.Audience != resource("stock") || len(c2.Actor) != 1 || c2.Actor[0].String() != "spiffe://acme.example/ns/shop/sa/app" || c2.Expires.After(c1.Expires) || c2.Confirm.X5T == [32]byte{} || c2.Confirm.X5T == sum {
		t.Errorf("%+v", c2)
	}
	third, c3 := w.issued("stock passes on to bank", w.do(pass(second.AccessToken, "stock", "bank")))
	if len(c3.Actor) != 2 || c3.Actor[0].String() != "spiffe://acme.example/ns/stock/sa/app" || c3.Actor[1] != c2.Actor[0] {
		t.Errorf("act is %v", c3.Actor)
	}
	for name, c := range map[string]struct {
		call call
		code oauth.Code
	}{
		"to an app that is not listed":         {pass(first.AccessToken, "shop", "wiki"), oauth.InvalidTarget},
		"to the app itself":                    {pass(first.AccessToken, "shop", "shop"), oauth.InvalidTarget},
		"to an app that only the second lists": {pass(second.AccessToken, "stock", "wiki"), oauth.InvalidTarget},
		"back":                                 {pass(third.AccessToken, "bank", "stock"), oauth.InvalidTarget},
		"by another app":                       {pass(first.AccessToken, "stock", "bank"), oauth.InvalidRequest},
		"by whoever it was issued to":          {call{form: exchanged(first.AccessToken, typeAccess, "resource", resource("stock")), cert: w.svid(client)}, oauth.InvalidRequest},
		"by a key":                             {call{form: exchanged(first.AccessToken, typeAccess, "resource", resource("stock"))}, oauth.InvalidRequest},
		"with an actor that is another":        {pass(first.AccessToken, "shop", "stock", "actor_token", svidToken("/ns/a/sa/agent"), "actor_token_type", typeJWT), oauth.InvalidRequest},
		"a token that was changed":             {pass(first.AccessToken[:len(first.AccessToken)-4]+"AAAA", "shop", "stock"), oauth.InvalidRequest},
		"a token as a JWT-SVID":                {call{form: exchanged(first.AccessToken, typeJWT, "resource", resource("stock")), cert: w.svid(appOf("shop"))}, oauth.InvalidRequest},
		"more than the holder's grant there":   {pass(first.AccessToken, "shop", "stock", "authorization_details", `[{"type":"urn:mayfly:web","operations":[{"name":"http.post"}]}]`), oauth.InvalidAuthorizationDetails},
	} {
		want(t, name, w.do(c.call), 400, c.code)
	}
	check(t, w.RevokeToken(t.Context(), c1.Subject, *c1))
	want(t, "after the end of its grant", w.do(pass(first.AccessToken, "shop", "stock")), 400, oauth.InvalidRequest)
}

// TestNothingGrowsAlongAChain goes random ways of exchange, by the real verbs: at each
// step life, audience and rights are within what they were.
func TestNothingGrowsAlongAChain(t *testing.T) {
	apps := []string{"shop", "stock", "bank", "wiki"}
	w := newWorld(t)
	folders := []string{"", "/", "/a", "/a/b", "/c"}
	certs := map[string]call{}
	for _, app := range apps {
		certs[app] = call{cert: w.svid(appOf(app))}
	}
	own := w.svid(client)
	tried := 0 // steps that only an earlier entitlement forbids
	rapid.Check(t, func(r *rapid.T) {
		w.pass(30 * time.Second) // for the limits
		granted := map[string]string{}
		for _, app := range apps {
			folder := rapid.SampledFrom(folders).Draw(r, "folder")
			if rapid.IntRange(0, 3).Draw(r, "granted") == 0 && app != "shop" {
				continue
			}
			params := map[string]string{}
			if folder != "" {
				params["folder"] = folder
			}
			id := w.grantOf(me, app+"/read", time.Duration(rapid.IntRange(60, 1200).Draw(r, "seconds"))*time.Second, params)
			granted[app] = id.String()
		}
		defer func() {
			for _, id := range granted {
				w.finish(id)
			}
		}()
		app := "shop"
		ask := func(form url.Values, at string) (answer, *tokens.Claims, bool) {
			if rapid.IntRange(0, 3).Draw(r, "narrow") == 0 {
				path := rapid.SampledFrom(folders[1:]).Draw(r, "path")
				form.Set("authorization_details", `[{"type":"urn:mayfly:web","operations":[{"name":"http.get","where":[{"attribute":"path","op":"under","values":[{"type":"path","value":"`+path+`"}]}]}]}]`)
			}
			c := call{form: form, cert: own}
			if at != "" {
				c.cert = certs[at].cert
			}
			res := w.do(c)
			if res.Code != http.StatusOK {
				if res.Code >= 500 || res.Code == 429 {
					r.Fatalf("%d %s", res.Code, res.Body)
				}
				return answer{}, nil, false
			}
			a, claims := w.issued("step", res)
			return a, claims, true
		}
		before, c, ok := ask(credentials(), "")
		if !ok {
			return
		}
		allowed, been := onward()["shop"], []string{"shop"}
		for range rapid.IntRange(1, 6).Draw(r, "steps") {
			w.pass(time.Duration(rapid.IntRange(0, 40).Draw(r, "wait")) * time.Second)
			to, by := rapid.SampledFrom(append(onward()[app], apps...)).Draw(r, "to"), app
			if rapid.IntRange(0, 4).Draw(r, "by another") == 0 {
				by = rapid.SampledFrom(apps).Draw(r, "by")
			}
			if by == app && granted[to] != "" && slices.Contains(onward()[app], to) && !slices.Contains(allowed, to) && !slices.Contains(been, to) {
				tried++
			}
			a, next, ok := ask(exchanged(before.AccessToken, typeAccess, "resource", resource(to)), by)
			if !ok {
				continue
			}
			switch {
			case by != app:
				r.Fatalf("%s exchanged a token for %s", by, app)
			case next.Expires.After(c.Expires):
				r.Fatalf("life grew: %s after %s", next.Expires, c.Expires)
			case next.Audience != resource(to) || !slices.Contains(allowed, to) || slices.Contains(been, to):
				r.Fatalf("audience grew: %s, allowed %v, was at %v", next.Audience, allowed, been)
			case next.Subject != c.Subject || len(next.Actor) != len(c.Actor)+1 || next.Actor[0].String() != "spiffe://acme.example"+appOf(by) || !slices.Equal(next.Actor[1:], c.Actor):
				r.Fatalf("the chain is %v after %v", next.Actor, c.Actor)
			case next.Grant.String() != granted[to]:
				r.Fatalf("the token is for %s, the holder's grant there is %q", next.Grant, granted[to])
			}
			r.Logf("%s → %s", app, to)
			w.within(r, next)
			left := []string{}
			for _, name := range onward()[to] {
				if slices.Contains(allowed, name) {
					left = append(left, name)
				}
			}
			before, c, app, allowed, been = a, next, to, left, append(been, to)
		}
	})
	if tried == 0 && !t.Failed() {
		t.Error("no chain came to what only an earlier step forbids: the property does not try it")
	}
}

// within fails if a token covers what its grant does not.
func (w *world) within(r *rapid.T, c *tokens.Claims) {
	g := w.stored(c.Grant)
	full := []tokens.Detail{{Type: "urn:mayfly:web", Locations: []string{c.Audience}, Entitlement: g.Entitlement, Scope: g.Scope}}
	if err := tokens.Narrows(c.Details, full); err != nil {
		r.Fatalf("rights grew: %v: %+v beyond %+v", err, c.Details, full)
	}
	if c.Expires.After(g.NotAfter) {
		r.Fatalf("it outlives its grant")
	}
}
