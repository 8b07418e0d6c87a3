package console_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// A bundle is on the list, has a form with the parameters of all, is offered whole, and
// its page says what each part has come to.
func TestABundleFromTheListToItsEnd(t *testing.T) {
	w := newWorld(t)
	w.apply(withBundles, nil)
	alice, bob := w.alice(), w.bob()
	wants(t, alice.get("/ask"), "Bundles", "refund-case", "stripe refunds.create", "reports http.get, http.head", "Approved by payments-leads (group at idp), then data-leads")
	wants(t, alice.get("/ask?q=reports"), "refund-case")
	page := alice.get("/ask?entitlement=refund-case")
	wants(t, page, "A bundle of several apps", "charge (required)", "folder (leave empty for any)", "2 h (most)")
	wants(t, alice.get("/ask?entitlement=refund-case&param.charge=ch_1&param.amount_max=5"), "Needs approval", "May do on", "May do on reports read By reports/read , folder : any", "refunds.create where amount at most 5")
	r := alice.asks(access.Ask{Entitlement: "refund-case", Params: map[string]string{"charge": "ch_1", "amount_max": "5"}, Reason: "order 17"})
	path := "/requests/" + r.ID.String()
	shown := bob.get(path)
	wants(t, shown, "Your decision", "Bundle refund-case money begins and ends as one", "May do on stripe money By stripe/refunds , amount_max : 5 , charge : ch_1", "refunds.create where amount at most 5", "May do on reports read By reports/read , folder : any", "http.get")
	wantsNot(t, shown, " on  ")
	bob.post(path+"/decide", fill(t, shown, path+"/decide", map[string]string{"verdict": "approve"}), http.StatusSeeOther)
	page = alice.get(path)
	wants(t, page, "One bundle", "stripe/refunds", "reports/read", "not in force: no gateway of the app is running")
	wants(t, bob.get("/explain/"+r.ID.String()), "entitlements/reports/read.yaml")
	for range 2 { // in the first 30 s of mayflyd gateways may be on their way back
		if err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass(31 * time.Second)
	}
	wants(t, alice.get(path), "reports/read revoked on reports , ended: incomplete", "stripe/refunds revoked on stripe , ended: incomplete")
	wants(t, alice.get("/trace/"+r.ID.String()), "Not all of the bundle was in force: all of it ends", "no gateway of the app is running")
}
