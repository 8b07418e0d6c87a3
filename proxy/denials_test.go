package proxy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// TestP8_AGatewayRemembersWhyItDenied has one request refused for an amount, which the
// record keeps, and one for an address, which it does not.
func TestP8_AGatewayRemembersWhyItDenied(t *testing.T) {
	d := newDesk(t)
	much := d.refund(proxytest.Refunder)
	much.body = "amount=99999999&charge=ch_1"
	r, ok := d.denials.Get(d.check(much).meta["denial"])
	if !ok || r.Principal != proxytest.Refunder || r.App != "stripe" || r.Operation != "refunds.create" || r.Code != "constraint" || r.Revision == 0 || r.LeaseAge == "" {
		t.Fatalf("%+v, %t", r, ok)
	}
	if len(r.Near) != 1 || r.Near[0].Grant != d.stripe.String() || r.Near[0].Attribute != "amount" || r.Near[0].Value != "99999999" || !strings.Contains(r.Near[0].String(), "99999999") {
		t.Errorf("near %+v", r.Near)
	}
	d.world.End(d.stripe, grant.Revoked)
	_, mail := d.world.Refunds(time.Hour)
	mail.GetGrant().Rules = []*feed.Rule{{Operation: "refunds.create", Where: []*feed.Constraint{{Attribute: "instructions_email", Op: "is", Values: []*feed.Value{{Type: "string", Value: "private@granted.example"}}}}}}
	d.world.Add(mail)
	elsewhere := d.refund(proxytest.Refunder)
	elsewhere.body = "amount=100&charge=ch_1&instructions_email=private%40asked.example"
	r, ok = d.denials.Get(d.check(elsewhere).meta["denial"])
	text, err := json.Marshal(r)
	if !ok || err != nil || len(r.Near) != 2 || !r.Near[0].Hidden || r.Near[0].Attribute != "instructions_email" {
		t.Fatalf("%+v, %t, %v", r, ok, err)
	}
	if strings.Contains(string(text)+r.Near[0].String(), "private@") {
		t.Errorf("a value is told that the record does not keep: %s", text)
	}
	if _, ok := d.denials.Get("den_01JZZZZZZZZZZZZZZZZZZZZZZZ"); ok {
		t.Error("it remembers what never was")
	}
	first := d.check(much).meta["denial"]
	for range 512 {
		d.check(much)
	}
	if _, ok := d.denials.Get(first); ok {
		t.Error("it remembers without end")
	}
}
