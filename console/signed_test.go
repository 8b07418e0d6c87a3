package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestASignedApprovalIsNoClick: where policy wants a signature the page has no button
// that would not count, says how it is given, and a form sent by hand does nothing.
func TestASignedApprovalIsNoClick(t *testing.T) {
	w := newWorld(t)
	key := prooftest.New(t).PublicKey(t, prooftest.Approver)
	bob := `{person: bob, accounts: ["user:idp:bob"]`
	w.apply("2", map[string]string{
		bob: bob + ", keys: [{ssh: \"" + key + "\"}]",
		"  steps:\n    - {any: [group:idp/payments-leads], count: 1, within: 20m}": "  signed: true\n  steps:\n    - {any: [bob], count: 1, within: 20m}",
	})
	r := w.alice().asks(refund())
	path := "/requests/" + r.ID.String()
	page := w.bob().get(path)
	wants(t, page, "Your decision", "mayfly approve "+r.ID.String()+" --sign-with KEY", "Deny")
	if strings.Contains(page, `value="approve"`) {
		t.Error("the page has a button to approve")
	}
	sent := w.bob().post(path+"/decide", url.Values{"verdict": {"approve"}, "offer": {r.OfferDigest}}, http.StatusUnprocessableEntity)
	wants(t, sent.Body.String(), "Nothing was decided")
}
