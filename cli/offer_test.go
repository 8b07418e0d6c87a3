package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
)

const requestID = "req_01JZZZZZZZZZZZZZZZZZZZZZZZ"

func offered(t *testing.T) string {
	t.Helper()
	b, _, err := access.Offer{
		V: 1, Request: requestID, Revision: "1", Entitlement: "stripe/refunds", App: "stripe", Act: []access.Party{}, Findings: []string{},
		Requester: access.Party{Principal: "user:idp:alice", Person: "alice", Shown: "Alice <alice@acme.example>"}, Params: map[string]string{"charge": "ch_1"},
		Operations: []access.OfferOperation{{Name: "refunds.create", Where: []access.OfferWhere{
			{Attribute: "amount", Op: "max", Value: "5000", Unit: "minor_units", Words: "amount at most 5000"},
			{Attribute: "reason", Op: "in", Value: []string{"duplicate", "fraud"}, Words: ""},
		}}},
		Limits: access.OfferLimits{Class: "money", Any: []string{}}, Duration: "1800", Reason: "x",
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is approved is what was shown: an offer that cannot be shown whole cannot
// be approved, and the digest is made here, whatever the server says it is.
func TestReadOffer(t *testing.T) {
	good := offered(t)
	read := func(raw string) (shownOffer, error) {
		return readOffer(api.Request{ID: requestID, Offer: &api.Offer{SHA256: strings.Repeat("0", 64), Bytes: raw}})
	}
	o, err := read(good)
	if err != nil || o.digest != audit.SHA256([]byte(good)).String() {
		t.Fatalf("%v, %v", o.digest, err)
	}
	var out bytes.Buffer
	o.render(&app{}, &out)
	for _, want := range []string{"Alice <alice@acme.example>, user:idp:alice, person alice", "amount max 5000 minor_units", "reason in duplicate, fraud", "30m0s", o.digest} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown: %s", want, &out)
		}
	}
	for name, raw := range map[string]string{
		"a part that is not known":   strings.Replace(good, `"app":`, `"also":"admin","app":`, 1),
		"a key twice":                strings.Replace(good, `"app":"stripe"`, `"app":"stripe","app":"aws"`, 1),
		"another order":              strings.Replace(good, `"act":[],`, "", 1) + " ",
		"another version":            strings.Replace(good, `"v":1`, `"v":2`, 1),
		"of another request":         strings.Replace(good, "req_01JZZZZ", "req_01JZZZY", 1),
		"nothing":                    "",
		"a key in another case also": strings.Replace(good, `"act":`, `"App":"aws","act":`, 1),
	} {
		if _, err := read(raw); err == nil {
			t.Errorf("%s: can be approved", name)
		}
	}
	if _, err := readOffer(api.Request{ID: requestID, State: "denied"}); err == nil {
		t.Error("no offer: can be approved")
	}
}

// Of a bundle every entitlement is shown whole, on which app and in what class: an
// approver's word is given on all of it.
func TestAnOfferOfABundleIsShownWhole(t *testing.T) {
	b, _, err := access.Offer{
		V: 1, Request: requestID, Revision: "1", Entitlement: "refund-case", Act: []access.Party{}, Findings: []string{}, Operations: []access.OfferOperation{},
		Params: map[string]string{"charge": "ch_1"}, Limits: access.OfferLimits{Class: "money", Any: []string{"folder"}, IdleAfter: "900"}, Duration: "1800",
		Members: []access.OfferMember{
			{Entitlement: "stripe/refunds", App: "stripe", Params: map[string]string{"charge": "ch_1"}, Catalogue: "digest-one", Limits: access.OfferLimits{Class: "money", Any: []string{}, IdleAfter: "900"},
				Operations: []access.OfferOperation{{Name: "refunds.create", Where: []access.OfferWhere{{Attribute: "charge", Op: "is", Value: "ch_1"}}}}},
			{Entitlement: "reports/read", App: "reports", Params: map[string]string{}, Catalogue: "digest-two", Limits: access.OfferLimits{Class: "read", Any: []string{"folder"}, IdleAfter: "60"},
				Operations: []access.OfferOperation{{Name: "http.get", Where: []access.OfferWhere{}}}},
		},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o, err := readOffer(api.Request{ID: requestID, Offer: &api.Offer{Bytes: string(b)}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o.render(&app{}, &out)
	for _, want := range []string{
		"refund-case: begins and ends as one", "unused       it ends after 15m0s without use", "left open    folder",
		"may do by stripe/refunds on stripe (money)\n  parameters charge=ch_1\n  catalogue  digest-one\n  refunds.create\n    charge is ch_1\n",
		"may do by reports/read on reports (read)\n  left open  folder\n  catalogue  digest-two\n  unused     it ends after 1m0s without use\n  http.get\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "on \n") {
		t.Errorf("an app without a name:\n%s", &out)
	}
	for _, raw := range []string{
		strings.Replace(string(b), `"catalogue":"digest-two"`, `"also":"x","catalogue":"digest-two"`, 1),
		strings.Replace(string(b), `"app":"reports"`, `"app":"reports","app":"aws"`, 1),
	} {
		if _, err := readOffer(api.Request{ID: requestID, Offer: &api.Offer{Bytes: raw}}); err == nil {
			t.Errorf("a part that is not shown can be approved: %s", raw)
		}
	}
}
