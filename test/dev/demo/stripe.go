package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"strings"

	stripe "github.com/stripe/stripe-go/v85"

	"github.com/mayflyproxy/mayfly/test/env"
)

// callerKey is what the caller has in the key's place. It opens nothing.
const callerKey = "sk_test_thecallerhasnokey"

// stripeClient is the official client, pointed at the gateway.
func stripeClient(c *env.Caller) *stripe.Client {
	return stripe.NewClient(callerKey, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String("https://" + env.StripeHost), HTTPClient: c.Client, MaxNetworkRetries: stripe.Int64(0),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

// refund gives amount back for a charge.
func refund(ctx context.Context, c *env.Caller, charge string, amount int64) (id string, err error) {
	r, err := stripeClient(c).V1Refunds.Create(ctx, &stripe.RefundCreateParams{Charge: stripe.String(charge), Amount: stripe.Int64(amount)})
	if err != nil {
		return "", err
	}
	return r.ID, nil
}

// refusal is what the official client makes of a refusal of ours.
type refusal struct {
	reason  string
	denial  string
	message string
}

// refusalOf expects err to be a refusal with that reason.
func refusalOf(err error, reason string) (refusal, error) {
	var e *stripe.Error
	if !errors.As(err, &e) {
		return refusal{}, fmt.Errorf("expected a refusal with reason %s, got %v", reason, err)
	}
	r := refusal{reason: strings.TrimPrefix(string(e.Code), "mayfly_"), denial: e.RequestID, message: e.Msg}
	if r.reason != reason {
		return r, fmt.Errorf("expected reason %s, got %s: %s", reason, r.reason, e.Msg)
	}
	return r, nil
}

// sameConnection notes whether the next request goes over a connection that was
// there before.
func sameConnection(ctx context.Context) (traced context.Context, reused *bool) {
	reused = new(bool)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { *reused = i.Reused },
	}), reused
}
