package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestAPasskeyIsAskedOfItsPerson: who has a passkey in policy gets a button, the
// passkey's id and the script; an answer that is none changes nothing.
func TestAPasskeyIsAskedOfItsPerson(t *testing.T) {
	w := newWorld(t)
	key := prooftest.New(t).PasskeyText(t)
	bob := `{person: bob, accounts: ["user:idp:bob"]`
	w.apply("2", map[string]string{
		bob: bob + ", keys: [{passkey: \"" + key + "\"}]",
		"  steps:\n    - {any: [group:idp/payments-leads], count: 1, within: 20m}": "  signed: true\n  steps:\n    - {any: [bob], count: 1, within: 20m}",
	})
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	id, _, _ := strings.Cut(key, ".")
	page := w.bob().get(path)
	wants(t, page, "mayfly approve "+r.ID.String()+" --sign-with KEY", "with a passkey")
	for _, want := range []string{`data-passkeys="` + id + `"`, `data-party="mayfly.acme.example"`, `src="/assets/passkey.`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(w.alice().get(path), id) {
		t.Error("alice's page names bob's passkey")
	}
	answer := url.Values{"verdict": {"approve"}, "offer": {r.OfferDigest}, "passkey": {id}, "authenticator_data": {"AA"}, "client_data": {"AA"}, "signature": {"AA"}}
	wants(t, w.bob().post(path+"/decide", answer, http.StatusUnprocessableEntity).Body.String(), "Nothing was decided", "The signature is not taken")
	answer.Set("signature", "!")
	wants(t, w.bob().post(path+"/decide", answer, http.StatusBadRequest).Body.String(), "Nothing was done")
}

// TestAPasskeyIsMadeFromWhatABrowserAnswers: nothing else gets a line.
func TestAPasskeyIsMadeFromWhatABrowserAnswers(t *testing.T) {
	w := newWorld(t)
	wants(t, w.bob().get("/passkey"), "Make a passkey", "mayfly approve REQ --sign-with KEY")
	for _, f := range []url.Values{{}, {"client_data": {"!"}}, {"client_data": {"e30"}, "attestation": {"oA"}}} {
		page := w.bob().post("/passkey", f, http.StatusUnprocessableEntity).Body.String()
		wants(t, page, "No passkey was made")
		if strings.Contains(page, "passkey-line") {
			t.Errorf("%v got a line", f)
		}
	}
}
