package integration

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// One workload's way to a refund, and everything on that way that is refused.
func TestStripeFromRefusalToRefund(t *testing.T) {
	p := theProduct(t)
	ctx := t.Context()
	refunder := p.as(t, "refunder", p.gw)
	before := len(p.Stripe.Arrivals())

	refused := refunder.refund(t, "ch_first", "4200")
	if refused.status != http.StatusForbidden || refused.reason() != "no_grant" || !strings.HasPrefix(refused.denial(), "den_") {
		t.Fatalf("without a grant: %d %s", refused.status, refused.text)
	}
	for _, want := range []string{"stripe/refunds", "mayfly request", "charge=ch_first"} {
		if !strings.Contains(refused.text, want) {
			t.Errorf("the denial does not say %q: %s", want, refused.text)
		}
	}
	suggested, err := p.refunder.FromDenial(ctx, refused.denial())
	if err != nil || suggested.Ask.Entitlement != "stripe/refunds" || suggested.Ask.Params["charge"] != "ch_first" {
		t.Fatalf("from the denial: %+v, %v", suggested, err)
	}
	if _, err := p.reporter.FromDenial(ctx, refused.denial()); err == nil {
		t.Error("another workload learns of the denial")
	}

	asked, err := p.refunder.Request(ctx, api.Ask{
		Denial: refused.denial(), Params: map[string]string{"amount_max": "5000"}, Duration: "10m0s", Reason: "order 17",
	}, api.NewKey())
	if err != nil || asked.State != "pending" {
		t.Fatalf("%+v, %v", asked, err)
	}
	if a := refunder.refund(t, "ch_first", "4200"); a.status == http.StatusOK {
		t.Fatal("asking was enough")
	}
	alice, err := p.Person(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := p.bob.ShowRequest(ctx, asked.ID)
	if err != nil {
		t.Fatal(err)
	}
	verdict := api.Verdict{OfferSHA256: shown.Offer.SHA256}
	for name, c := range map[string]*api.Client{"a person outside the group": alice, "the workload itself": p.refunder} {
		if _, err := c.Approve(ctx, asked.ID, verdict); err == nil {
			t.Fatalf("%s approved", name)
		}
	}
	if len(p.Stripe.Arrivals()) != before {
		t.Fatal("Stripe was called without a grant")
	}
	approved, err := p.bob.Approve(ctx, asked.ID, verdict)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.bob.Revoke(context.WithoutCancel(ctx), approved.Grant, api.Because{}) })

	a := passes(t, "the refund", func() answer { return refunder.refund(t, "ch_first", "4200") })
	if a.body["object"] != "refund" {
		t.Errorf("not Stripe's answer: %s", a.text)
	}
	got := p.Stripe.Arrivals()
	last := got[len(got)-1]
	if last.Authorization != "Bearer "+env.RefundsKey || strings.Contains(joined(last.Header), callersKey) {
		t.Errorf("Stripe saw another key than the gateway's: %v", last.Header)
	}
	a, _ = refunder.send(t, http.MethodGet, stripeURL("/v1/charges/ch_first"), nil, "Authorization", "Bearer "+callersKey)
	got = p.Stripe.Arrivals()
	if last := got[len(got)-1]; a.status != http.StatusOK || last.Authorization != "Bearer "+env.ReadKey {
		t.Errorf("a read is done with %q: %d %s", last.Authorization, a.status, a.text)
	}
	testHeldToTheGrant(t, p, refunder)
}

func testHeldToTheGrant(t *testing.T, p *product, refunder caller) {
	shop := p.as(t, "shop", p.gw)
	before := len(p.Stripe.Arrivals())
	form := func(text string) url.Values {
		v, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name, method, path, body, reason string
		who                              caller
	}{
		{"over the amount", "POST", "/v1/refunds", "charge=ch_first&amount=5001", "constraint", refunder},
		{"far over the amount", "POST", "/v1/refunds", "charge=ch_first&amount=99999999999999999999", "malformed", refunder},
		{"another charge", "POST", "/v1/refunds", "charge=ch_second&amount=1", "constraint", refunder},
		{"no charge", "POST", "/v1/refunds", "amount=1", "constraint", refunder},
		{"no amount, which means all of it", "POST", "/v1/refunds", "charge=ch_first", "constraint", refunder},
		{"two amounts", "POST", "/v1/refunds", "charge=ch_first&amount=1&amount=5001", "malformed", refunder},
		{"another operation", "GET", "/v1/customers/cus_1", "", "scope", refunder},
		{"another operation on the charge", "POST", "/v1/charges/ch_first/capture", "amount=1", "scope", refunder},
		{"no operation at all", "GET", "/v1/nothing", "", "unknown_operation", refunder},
		{"another workload", "POST", "/v1/refunds", "charge=ch_first&amount=1", "no_grant", shop},
	} {
		var f url.Values
		if c.body != "" {
			f = form(c.body)
		}
		a, _ := c.who.send(t, c.method, stripeURL(c.path), f)
		if a.status < 400 || a.reason() != c.reason {
			t.Errorf("%s: %d %s, want %s", c.name, a.status, a.text, c.reason)
		}
	}
	if n := len(p.Stripe.Arrivals()); n != before {
		t.Errorf("%d refused calls reached Stripe", n-before)
	}
}

func joined(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}

// The next request on the same connection is refused: when the grant's time is
// over, and when it was revoked.
func TestP3P4_TheEndRefusesTheNextRequestOnTheSameConnection(t *testing.T) {
	p := theProduct(t)
	for _, c := range []struct {
		name, charge, reason string
		term                 time.Duration
		end                  func(t *testing.T, id string)
	}{
		{"by time", "ch_timed", "ended", 2 * time.Second, func(*testing.T, string) {}},
		{"by revoke", "ch_revoked", "revoked", 10 * time.Minute, func(t *testing.T, id string) {
			r, err := p.bob.Revoke(t.Context(), id, api.Because{Reason: "a mistake"})
			if err != nil || len(r.Waits) == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			eventually(t, "the gateway acknowledges", func() error {
				if r, err = p.bob.Receipts(t.Context(), id); err == nil && !acked(r, p.gw) {
					err = fmt.Errorf("%+v", r)
				}
				return err
			})
		}},
		{"by its holder", "ch_finished", "ended", 10 * time.Minute, func(t *testing.T, id string) {
			if _, err := p.refunder.Finish(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refunder := p.as(t, "refunder", p.gw)
			g := p.mayRefund(t, c.charge, c.term)
			passes(t, "a refund", func() answer { return refunder.refund(t, c.charge, "1") })
			c.end(t, g.ID)
			began := time.Now()
			form := url.Values{"charge": {c.charge}, "amount": {"2"}}
			for {
				sent := time.Now()
				a, reused := refunder.send(t, http.MethodPost, stripeURL("/v1/refunds"), form)
				if !reused {
					t.Fatal("another connection was used")
				}
				if a.status != http.StatusOK {
					if a.reason() != c.reason {
						t.Errorf("refused with %s, want %s", a.text, c.reason)
					}
					break
				}
				if !sent.Before(endOf(t, g)) || c.term > time.Minute && time.Since(began) > patience {
					t.Fatalf("allowed when sent at %s; the grant ended at %s", sent, g.NotAfter)
				}
			}
		})
	}
}

func acked(r api.Receipts, g *env.Gateway) bool {
	s, err := g.Status(context.Background())
	return err == nil && slices.ContainsFunc(r.Waits, func(w api.Receipt) bool { return w.Instance == s.Instance && w.State == "acked" })
}

// The upstream's keys are in the sidecar's files and in what it sends to Stripe,
// and nowhere else.
func TestP7_TheKeysAreInNoLogNoRecordAndNoAnswer(t *testing.T) {
	p := theProduct(t)
	refunder := p.as(t, "refunder", p.gw)
	p.mayRefund(t, "ch_secret", 10*time.Minute)
	a := passes(t, "a refund", func() answer { return refunder.refund(t, "ch_secret", "1") })
	if text := a.text + joined(a.header); strings.Contains(text, env.RefundsKey) {
		t.Error("the caller sees the key")
	}
	dir, _, _ := p.record(t)
	for _, root := range []string{p.Dir, dir} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasPrefix(path, p.Bin) || strings.HasSuffix(path, ".key") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, key := range []string{env.ReadKey, env.RefundsKey, callersKey} {
				if strings.Contains(string(text), key) {
					t.Errorf("%s holds %s…", path, key[:12])
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
