package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	stripe "github.com/stripe/stripe-go/v85"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// Exit codes of mayfly (contracts §8).
const (
	exitDone    = 0
	exitPending = 3
	exitDenied  = 4
)

// begin starts everything.
func (s *story) begin(ctx context.Context, c env.Config) (err error) {
	s.chapter("Start: mayflyd on SQLite, two gateways (a sidecar and a real Envoy each) that share one SVID, a development CA and OpenID provider, stripe-mock.")
	if s.e, err = env.Start(ctx, c); err != nil {
		return err
	}
	if s.gw, err = s.e.StartGateway(ctx, "gw-1"); err != nil {
		return err
	}
	if s.idle, err = s.e.StartGateway(ctx, "gw-2"); err != nil {
		return err
	}
	if s.refunder, err = s.e.Caller(ctx, "refunder", s.gw); err != nil {
		return err
	}
	if s.shop, err = s.e.Caller(ctx, "shop", s.gw); err != nil {
		return err
	}
	s.fact("mayflyd %s, gateway for %s on %s", s.e.Public, env.StripeHost, s.gw.Address)
	return nil
}

func (s *story) refused(ctx context.Context) error {
	s.chapter("A service with a real SVID, %s, calls Stripe by the official client. Nobody holds access.", env.RefunderID)
	_, err := refund(ctx, s.refunder, "ch_1", 4200)
	r, err := refusalOf(err, "no_grant")
	if err != nil {
		return err
	}
	s.denial = r.denial
	s.fact("refused: %s (%s)\n%s", r.reason, r.denial, r.message)
	if !strings.Contains(r.message, "stripe/refunds") || !strings.Contains(r.message, "mayfly request") {
		return errors.New("the denial names neither entitlement nor command")
	}
	return nil
}

// granted asks as the refunder, has bob approve, and returns the grant.
func (s *story) granted(ctx context.Context, args ...string) (api.Grant, error) {
	var asked api.Request
	if err := s.ask(ctx, "refunder", exitPending, &asked, append([]string{"request"}, args...)...); err != nil {
		return api.Grant{}, err
	}
	s.fact("%s is %s: %s", asked.ID, asked.State, stepsOf(asked))
	return s.approveAs(ctx, "bob", asked.ID)
}

func stepsOf(r api.Request) string {
	if len(r.Steps) == 0 {
		return "decided by policy"
	}
	return fmt.Sprintf("waits for %d of %s", r.Steps[0].Count, strings.Join(r.Steps[0].Any, ", "))
}

func (s *story) approveAs(ctx context.Context, who, request string) (api.Grant, error) {
	var decided api.Request
	if err := s.ask(ctx, who, exitDone, &decided, "approve", request, "--yes"); err != nil {
		return api.Grant{}, err
	}
	ran, err := s.e.CLI(ctx, "refunder", "show", decided.Grant, "-o", "json")
	if err != nil {
		return api.Grant{}, err
	}
	var g api.Grant
	if err := unmarshal(ran, &g); err != nil {
		return g, err
	}
	s.fact("%s is approved: %s, from %s to %s", decided.ID, g.ID, g.NotBefore, g.NotAfter)
	return g, nil
}

func (s *story) asked(ctx context.Context) error {
	s.chapter("It asks, from the denial: the charge comes from the refused call, and it raises the amount itself.")
	var asked api.Request
	err := s.ask(ctx, "refunder", exitPending, &asked, "request", "--from-denial", s.denial, "--param", "amount_max=5000", "--duration", firstTerm.String(), "--reason", "refund of order 17")
	if err != nil {
		return err
	}
	s.request = asked.ID
	s.fact("%s is %s: %s, with charge=%s amount_max=%s", asked.ID, asked.State, stepsOf(asked), asked.Params["charge"], asked.Params["amount_max"])
	if asked.Params["charge"] != "ch_1" || asked.Params["amount_max"] != "5000" {
		return fmt.Errorf("the request has params %v", asked.Params)
	}
	return nil
}

// firstTerm is how long the first grant lasts: long enough for what follows.
const firstTerm = 12 * time.Second

func (s *story) approved(ctx context.Context) error {
	s.chapter("People log in through OIDC. Whoever is not in the group cannot approve, nobody approves their own, and bob can.")
	for _, who := range []string{"alice", "bob", "carol"} {
		if _, err := s.e.Login(ctx, who); err != nil {
			return err
		}
	}
	s.fact("alice (support), bob (payments-leads, security) and carol (both support and payments-leads) have logged in")
	ran, err := s.run(ctx, "alice", exitDenied, "approve", s.request, "--yes")
	if err != nil {
		return err
	}
	s.fact("%s", ran.Text())
	var own api.Request
	if err := s.ask(ctx, "carol", exitPending, &own, "request", "stripe/refunds", "--param", "charge=ch_2", "--param", "amount_max=100", "--reason", "refund of order 18"); err != nil {
		return err
	}
	if ran, err = s.run(ctx, "carol", exitDenied, "approve", own.ID, "--yes"); err != nil {
		return err
	}
	s.fact("%s", ran.Text())
	if !strings.Contains(ran.Text(), "self_approval") {
		return fmt.Errorf("expected self_approval, got %s", ran.Text())
	}
	if _, err := s.run(ctx, "carol", exitDone, "withdraw", own.ID); err != nil {
		return err
	}
	s.grant, err = s.approveAs(ctx, "bob", s.request)
	return err
}

func (s *story) used(ctx context.Context) error {
	s.chapter("The same call passes. Stripe saw the gateway's key, not the caller's.")
	if err := s.until(ctx, "the grant on the gateway", func() error {
		id, err := refund(ctx, s.refunder, "ch_1", 4200)
		if err == nil {
			s.fact("refund %s", id)
		}
		return err
	}); err != nil {
		return err
	}
	arrivals := s.e.Stripe.Arrivals()
	if len(arrivals) != 1 {
		return fmt.Errorf("stripe-mock saw %d requests, expected 1", len(arrivals))
	}
	a := arrivals[0]
	s.fact("stripe-mock saw %s %s with Authorization: %s… and %s", a.Method, a.Path, a.Authorization[:20], a.Action)
	if a.Authorization != "Bearer "+env.RefundsKey || strings.Contains(fmt.Sprint(a.Header), callerKey) {
		return errors.New("stripe-mock saw another key than the gateway's")
	}
	return nil
}

// until tries for a few seconds: a grant reaches gateways by message.
func (s *story) until(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return env.Eventually(ctx, what, f)
}

func (s *story) held(ctx context.Context) error {
	s.chapter("It is held to what was granted. Each no has its own reason.")
	client := stripeClient(s.refunder)
	for _, c := range []struct {
		what, reason string
		call         func() error
	}{
		{"over the amount", "constraint", func() error { _, err := refund(ctx, s.refunder, "ch_1", 5001); return err }},
		{"another charge", "constraint", func() error { _, err := refund(ctx, s.refunder, "ch_2", 4200); return err }},
		{"another operation", "scope", func() error { _, err := client.V1Customers.Retrieve(ctx, "cus_1", nil); return err }},
		{"without an amount", "constraint", func() error {
			_, err := client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{Charge: stripe.String("ch_1")})
			return err
		}},
		{"another workload", "no_grant", func() error { _, err := refund(ctx, s.shop, "ch_1", 4200); return err }},
	} {
		r, err := refusalOf(c.call(), c.reason)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		s.fact("%-18s %-11s %s", c.what, r.reason, r.denial)
	}
	if n := len(s.e.Stripe.Arrivals()); n != 1 {
		return fmt.Errorf("stripe-mock saw %d requests, expected still 1", n)
	}
	return nil
}

func (s *story) timeEnds(ctx context.Context) error {
	s.chapter("The grant ends at %s, and the next request on the same connection is refused. No message is needed for that.", s.grant.NotAfter)
	reason, passed, err := s.useUntilRefused(ctx)
	if err != nil {
		return err
	}
	if reason.reason != "ended" {
		return fmt.Errorf("refused with %s, expected ended: %s", reason.reason, reason.message)
	}
	s.fact("%d more calls passed, then: %s (%s)", passed, reason.reason, reason.denial)
	return nil
}

// useUntilRefused calls on one connection until it is refused.
func (s *story) useUntilRefused(ctx context.Context) (refusal, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for passed := 0; ; passed++ {
		traced, reused := sameConnection(ctx)
		_, err := stripeClient(s.refunder).V1Charges.Retrieve(traced, "ch_1", nil)
		var e *stripe.Error
		switch {
		case err == nil:
		case errors.As(err, &e) && *reused:
			return refusal{reason: strings.TrimPrefix(string(e.Code), "mayfly_"), denial: e.RequestID, message: e.Msg}, passed, nil
		case errors.As(err, &e):
			return refusal{}, passed, errors.New("the refusal came on another connection")
		default:
			return refusal{}, passed, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return refusal{}, passed, ctx.Err()
		}
	}
}

func (s *story) revoked(ctx context.Context) error {
	s.chapter("A revoke: the next request is refused, and the revoker gets a receipt per gateway. gw-2 is stopped with SIGSTOP and cannot hear.")
	var err error
	s.grant, err = s.granted(ctx, "stripe/refunds", "--param", "charge=ch_1", "--param", "amount_max=5000", "--duration", "10m", "--reason", "refund of order 19")
	if err != nil {
		return err
	}
	if err := s.until(ctx, "the second grant on the gateway", func() error {
		_, err := stripeClient(s.refunder).V1Charges.Retrieve(ctx, "ch_1", nil)
		return err
	}); err != nil {
		return err
	}
	s.fact("a call passes under %s", s.grant.ID)
	if err := s.idle.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return s.revokeAndWait(ctx)
}

// revokeAndWait revokes while the workload keeps calling, and reads the receipts.
func (s *story) revokeAndWait(ctx context.Context) error {
	type used struct {
		r      refusal
		passed int
		err    error
	}
	done := make(chan used, 1)
	go func() {
		r, n, err := s.useUntilRefused(ctx)
		done <- used{r, n, err}
	}()
	began := time.Now()
	ran, err := s.run(ctx, "bob", exitDone, "revoke", s.grant.ID, "--reason", "the refund was a mistake", "--wait")
	if err != nil {
		<-done
		return err
	}
	took := time.Since(began).Round(100 * time.Millisecond)
	u := <-done
	if u.err != nil {
		return u.err
	}
	s.fact("%s", ran.Text())
	s.fact("revoke --wait returned after %s; the running gateway refused with %s (%s)", took, u.r.reason, u.r.denial)
	if u.r.reason != "revoked" {
		return fmt.Errorf("refused with %s, expected revoked", u.r.reason)
	}
	if !strings.Contains(ran.Text(), "acked") || !strings.Contains(ran.Text(), "closed") {
		return errors.New("expected one instance acked and one closed")
	}
	return s.idle.Process.Signal(syscall.SIGCONT)
}
