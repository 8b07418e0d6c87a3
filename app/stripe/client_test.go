package stripe

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	stripego "github.com/stripe/stripe-go/v85"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// gateway classifies every request of a client. What it knows it answers with an
// empty object, what it refuses as Refuse says.
type gateway struct {
	kind   *Kind
	denial *grant.Denial // answers everything, if set
	seen   []scope.Operation
	tries  int
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.tries++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ask := &app.Request{App: "stripe", Method: r.Method, Authority: r.Host, Path: r.RequestURI, Header: r.Header, Body: body}
	op, err := g.kind.Classify(ask)
	if d := grant.Of(err); d != nil || g.denial != nil {
		if g.denial != nil {
			d = g.denial
		}
		answer := g.kind.Refuse(d)
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Status)
		_, _ = io.Copy(w, bytes.NewReader(answer.Body))
		return
	}
	g.seen = append(g.seen, op)
	_, _ = io.WriteString(w, `{"object":"list","data":[]}`)
}

func (g *gateway) client(t *testing.T) *stripego.Client {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	backends := stripego.NewBackendsWithConfig(&stripego.BackendConfig{
		URL: stripego.String(server.URL), HTTPClient: server.Client(), MaxNetworkRetries: stripego.Int64(2),
		LeveledLogger: &stripego.LeveledLogger{Level: stripego.LevelNull},
	})
	return stripego.NewClient("sk_test_none", stripego.WithBackends(backends))
}

// TestTheOfficialClientIsUnderstood sends what stripe-go sends by default.
func TestTheOfficialClientIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(*stripego.Client) error
		want map[string]string // attributes by their text
	}{
		{"refunds.create", func(c *stripego.Client) error {
			_, err := c.V1Refunds.Create(t.Context(), &stripego.RefundCreateParams{
				Charge: stripego.String("ch_1"), Amount: stripego.Int64(4200), Metadata: map[string]string{"ticket": "42"},
			})
			return err
		}, map[string]string{"charge": "ch_1", "amount": "4200"}},
		{"charges.retrieve", func(c *stripego.Client) error {
			_, err := c.V1Charges.Retrieve(t.Context(), "ch_1", nil)
			return err
		}, map[string]string{"charge": "ch_1"}},
		{"customers.list", func(c *stripego.Client) error {
			params := &stripego.CustomerListParams{Email: stripego.String("a b@acme.example")}
			params.Limit = stripego.Int64(3)
			for _, err := range c.V1Customers.List(t.Context(), params).All(t.Context()) {
				return err
			}
			return nil
		}, map[string]string{"email": "a b@acme.example", "limit": "3"}},
		{"payment_intents.create", func(c *stripego.Client) error {
			_, err := c.V1PaymentIntents.Create(t.Context(), &stripego.PaymentIntentCreateParams{
				Amount: stripego.Int64(4200), Currency: stripego.String("usd"), PaymentMethodTypes: stripego.StringSlice([]string{"card"}),
				TransferData: &stripego.PaymentIntentCreateTransferDataParams{Destination: stripego.String("acct_1")},
			})
			return err
		}, map[string]string{"amount": "42.00 usd", "currency": "usd", "transfer_data.destination": "acct_1"}},
		{"payment_intents.capture", func(c *stripego.Client) error {
			_, err := c.V1PaymentIntents.Capture(t.Context(), "pi_1", &stripego.PaymentIntentCaptureParams{AmountToCapture: stripego.Int64(1)})
			return err
		}, map[string]string{"payment_intent": "pi_1", "amount_to_capture": "1"}},
		{"subscriptions.delete", func(c *stripego.Client) error {
			_, err := c.V1Subscriptions.Cancel(t.Context(), "sub_1", &stripego.SubscriptionCancelParams{Prorate: stripego.Bool(true)})
			return err
		}, map[string]string{"subscription": "sub_1", "prorate": "true"}},
		{"subscriptions.create", func(c *stripego.Client) error {
			_, err := c.V1Subscriptions.Create(t.Context(), &stripego.SubscriptionCreateParams{
				Customer: stripego.String("cus_1"), Items: []*stripego.SubscriptionCreateItemParams{{Price: stripego.String("price_1"), Quantity: stripego.Int64(2)}},
			})
			return err
		}, map[string]string{"customer": "cus_1"}},
		{"files.create", func(c *stripego.Client) error {
			_, err := c.V1Files.Create(t.Context(), &stripego.FileCreateParams{
				FileReader: bytes.NewReader([]byte("\x89PNG")), Filename: stripego.String("a.png"), Purpose: stripego.String("dispute_evidence"),
			})
			return err
		}, map[string]string{"purpose": "dispute_evidence"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &gateway{kind: newKind(t)}
			if err := c.call(g.client(t)); err != nil {
				t.Fatal(err)
			}
			if len(g.seen) != 1 || g.seen[0].Name != c.name {
				t.Fatalf("seen %v", g.seen)
			}
			got := map[string]string{}
			for name, v := range g.seen[0].Attributes {
				got[name] = v.String()
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s is %q, want %q", name, got[name], want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("attributes %v, want %v", got, c.want)
			}
		})
	}
}

// TestTheOfficialClientShowsARefusal in our words, once: this client never tries
// again after an error document; others do as Stripe-Should-Retry says.
func TestTheOfficialClientShowsARefusal(t *testing.T) {
	id := grant.NewMinter().NewDenialID(time.Unix(1, 0))
	for reason, retry := range map[grant.Reason]string{
		grant.NoGrant: "false", grant.ConstraintUnmet: "false", grant.Malformed: "false", grant.NoIdentity: "false", grant.Stale: "true",
	} {
		d := grant.Deny(reason, "no grant of yours covers refunds.create")
		d.ID, d.Next, d.Entitlement = id, "mayfly request stripe/refunds", "stripe/refunds"
		g := &gateway{kind: newKind(t), denial: d}
		_, err := g.client(t).V1Refunds.Create(t.Context(), &stripego.RefundCreateParams{Charge: stripego.String("ch_1")})
		var shown *stripego.Error
		if !errors.As(err, &shown) {
			t.Fatalf("%s: %v", reason, err)
		}
		want := "no grant of yours covers refunds.create. The entitlement stripe/refunds would allow it. Next: mayfly request stripe/refunds (" + id.String() + ")"
		if shown.Msg != want || string(shown.Code) != "mayfly_"+string(reason) || shown.RequestID != id.String() || shown.HTTPStatusCode != d.Info().HTTP {
			t.Errorf("%s: the client shows %+v", reason, shown)
		}
		if got := shown.LastResponse.Header.Get("Stripe-Should-Retry"); got != retry || g.tries != 1 {
			t.Errorf("%s: %d tries, Stripe-Should-Retry %q, want %q", reason, g.tries, got, retry)
		}
	}
}
