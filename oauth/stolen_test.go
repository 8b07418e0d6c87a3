package oauth_test

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/tokens"
)

// A JWT-SVID serves the key that it was shown with first, however often, and no other.
func TestAStolenJWTSVID(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", time.Hour, nil)
	thief, err := tokens.NewProver()
	check(t, err)
	asserted := func(token string) call {
		return call{form: credentials("client_assertion", token, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe")}
	}
	stolen := func(c call) call { c.key = thief; return c }
	shown := svidToken(client)
	w.issued("the workload", w.do(asserted(shown)))
	w.issued("the workload again", w.do(asserted(shown)))
	want(t, "a thief", w.do(stolen(asserted(shown))), 401, oauth.InvalidClient)
	want(t, "a thief, with another signature", w.do(stolen(asserted(shown+"y"))), 401, oauth.InvalidClient)
	want(t, "a thief, as subject", w.do(stolen(call{form: exchanged(shown, typeJWT)})), 400, oauth.InvalidRequest)
	want(t, "a thief with an SVID of its own, as subject", w.do(call{form: exchanged(shown, typeJWT, "actor_token", svidToken("/ns/a/sa/agent"), "actor_token_type", typeJWT), cert: w.svid("/ns/a/sa/agent")}), 400, oauth.InvalidRequest)
	w.issued("the workload by its certificate", w.do(call{form: exchanged(shown, typeJWT), cert: w.svid(client)}))
	w.issued("the workload, as subject", w.do(call{form: exchanged(shown, typeJWT)}))

	actor := svidToken("/ns/a/sa/agent~2")
	w.idTokens["i.d.t"] = oauth.IDToken{Digest: [32]byte{1}, Principal: principal(t, "user:idp:alice"), Ends: w.clock().Add(5 * time.Minute)}
	w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	acting := call{form: exchanged("i.d.t", typeID, "actor_token", actor, "actor_token_type", typeJWT)}
	w.issued("an actor", w.do(acting))
	want(t, "a thief, as actor", w.do(stolen(acting)), 400, oauth.InvalidRequest)

	check(t, w.flush())
	named := 0
	for _, r := range w.leaves(audit.TypeTokenRefused) {
		body, err := r.Texts()
		check(t, err)
		if body["principal"] != "" {
			named++
		}
	}
	if named != 5 {
		t.Errorf("%d refusals name whose JWT-SVID was stolen, want 5", named)
	}
}
