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
