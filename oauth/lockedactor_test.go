package oauth_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

// A token in which somebody locked acts is live to nobody who asks, wherever in the
// chain they stand.
func TestIntrospectionOfALockedActor(t *testing.T) {
	for _, locked := range []string{"spiffe://acme.example/ns/shop/sa/app", "spiffe://acme.example/ns/stock/sa/app"} {
		t.Run(locked, func(t *testing.T) {
			w := newWorld(t)
			for _, app := range []string{"shop", "stock", "bank"} {
				w.grantOf(me, app+"/read", time.Hour, nil)
			}
			first, _ := w.issued("for shop", w.do(call{form: credentials(), cert: w.svid(client)}))
			second, _ := w.issued("for stock", w.do(call{form: exchanged(first.AccessToken, typeAccess, "resource", resource("stock")), cert: w.svid(appOf("shop"))}))
			third, _ := w.issued("for bank", w.do(call{form: exchanged(second.AccessToken, typeAccess, "resource", resource("bank")), cert: w.svid(appOf("stock"))}))
			active := func(token string) bool {
				t.Helper()
				var out struct{ Active bool }
				check(t, json.Unmarshal(w.do(call{path: "/oauth/introspect", form: revoke(token), cert: w.svid(client)}).Body.Bytes(), &out))
				return out.Active
			}
			if !active(third.AccessToken) {
				t.Fatal("the token is not live before the lock")
			}
			security, err := identity.ParseGroup("group:idp/security")
			check(t, err)
			_, err = w.Lock(t.Context(), access.Caller{Principal: principal(t, "user:idp:bob"), Groups: []identity.Group{security}, GroupsAt: w.clock()}, locked, "stolen")
			check(t, err)
			if active(third.AccessToken) {
				t.Error("a token in which a locked app acts is live")
			}
			if !active(first.AccessToken) {
				t.Error("a token in which nobody is locked is not live")
			}
		})
	}
}
