package proxy_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// placed is the wiki with what counts of it at each gateway.
func placed(places ...*feed.Place) *feed.Resource {
	r := proxytest.Wiki()
	r.GetApp().Places = places
	return r
}

func TestWhatCountsAtThisGateway(t *testing.T) {
	here, elsewhere := proxytest.Sidecar, "spiffe://acme.example/gw/other"
	for _, c := range []struct {
		name   string
		places []*feed.Place
		want   grant.Reason // "" is allowed
	}{
		{"policy says nothing", nil, ""},
		{"any trust domain", []*feed.Place{{Sidecar: here, AnyTrustDomain: true}}, ""},
		{"ours is listed", []*feed.Place{{Sidecar: here, TrustDomains: []string{"partner.example", "acme.example"}}}, ""},
		{"ours is not listed", []*feed.Place{{Sidecar: here, TrustDomains: []string{"partner.example", "acme.example.evil"}}}, grant.BadCertificate},
		{"nobody is listed", []*feed.Place{{Sidecar: here}}, grant.BadCertificate},
		{"ours is listed elsewhere", []*feed.Place{{Sidecar: elsewhere, TrustDomains: []string{"acme.example"}}, {Sidecar: here}}, grant.BadCertificate},
		{"this gateway is not named", []*feed.Place{{Sidecar: elsewhere, AnyTrustDomain: true}}, grant.BadCertificate},
		{"the entitlement counts elsewhere", []*feed.Place{{Sidecar: here, AnyTrustDomain: true, Elsewhere: []string{"wiki/read"}}}, grant.NoGrant},
		{"another entitlement counts elsewhere", []*feed.Place{{Sidecar: here, AnyTrustDomain: true, Elsewhere: []string{"wiki/write"}}}, ""},
	} {
		d := newDesk(t)
		d.world.Add(placed(c.places...))
		v := d.check(d.read(proxytest.Refunder))
		if v.reason != c.want || v.allowed != (c.want == "") {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
