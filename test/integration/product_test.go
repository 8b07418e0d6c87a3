package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

// product is the whole of Mayfly from its built binaries, shared by the tests
// below: each makes its own grants and leaves the policy as it was.
type product struct {
	*env.Env
	gw       *env.Gateway
	bob      *api.Client // payments-leads and security
	refunder *api.Client
	reporter *api.Client
	stop     func() error
}

var started = sync.OnceValues(startProduct)

// envoyPath is set before the first use of started.
var envoyPath string

// theProduct returns the running product, or skips.
func theProduct(t testing.TB) *product {
	t.Helper()
	needProduct(t)
	shared.Store(true)
	p, err := started()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shared is whether a test has asked for the product that they share.
var shared atomic.Bool

// needProduct skips where a product cannot be started.
func needProduct(t testing.TB) {
	t.Helper()
	b := findEnvoy(t)
	if env.Tool("bin", "stripe-mock") == "stripe-mock" {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("no stripe-mock: make tools")
		}
		t.Skip("SKIP: no stripe-mock: make tools")
	}
	envoyPath = b.Path
}

func startProduct() (*product, error) { return startWith(env.Config{}) }

// errNotYet is for eventually.
var errNotYet = errors.New("not yet")

// startWith starts a product of its own, with what c says beside its places.
func startWith(c env.Config) (p *product, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	p, c.Envoy = &product{}, envoyPath
	if p.Env, p.stop, err = env.Launch(ctx, c); err != nil {
		return nil, err
	}
	if p.gw, err = p.StartGateway(ctx, "gw"); err != nil {
		return nil, err
	}
	if p.bob, err = p.Person(ctx, "bob"); err != nil {
		return nil, err
	}
	if p.refunder, err = p.WorkloadAPIClient(ctx, "refunder"); err != nil {
		return nil, err
	}
	p.reporter, err = p.WorkloadAPIClient(ctx, "reporter")
	return p, err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.Load() {
		if p, _ := started(); p != nil {
			if err := p.stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
	}
	os.Exit(code)
}

// as returns a workload's HTTP client through a gateway.
func (p *product) as(t testing.TB, name string, g *env.Gateway) caller {
	t.Helper()
	c, err := p.Caller(t.Context(), name, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return caller{c.Client}
}

// grant makes a live grant and ends it with the test.
func (p *product) grant(t testing.TB, who *api.Client, ask api.Ask) api.Grant {
	t.Helper()
	g, err := p.Grant(t.Context(), who, p.bob, ask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = who.Finish(context.WithoutCancel(t.Context()), g.ID) })
	return g
}

func (p *product) mayRefund(t testing.TB, charge string, d time.Duration) api.Grant {
	t.Helper()
	return p.grant(t, p.refunder, api.Ask{
		Entitlement: "stripe/refunds", Params: map[string]string{"charge": charge, "amount_max": "5000"}, Duration: d.String(), Reason: "order 17",
	})
}

func (p *product) mayRead(t testing.TB, folder string, d time.Duration) api.Grant {
	t.Helper()
	return p.grant(t, p.reporter, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": folder}, Duration: d.String()})
}

// send sends a request: a form if there is one. reused reports whether it went
// over a connection that had carried one before.
func (c caller) send(t testing.TB, method, address string, form url.Values, header ...string) (a answer, reused bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	var err error
	if form == nil {
		a, err = c.do(ctx, method, address, nil, header...)
	} else {
		a, err = c.do(ctx, method, address, strings.NewReader(form.Encode()), append(header, "Content-Type", "application/x-www-form-urlencoded")...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, reused
}

func (c caller) refund(t testing.TB, charge, amount string) answer {
	t.Helper()
	a, _ := c.send(t, http.MethodPost, stripeURL("/v1/refunds"), url.Values{"charge": {charge}, "amount": {amount}}, "Authorization", "Bearer "+callersKey)
	return a
}

// callersKey is what the official client insists on sending; it opens nothing.
const callersKey = "sk_test_callersown"

func stripeURL(path string) string  { return "https://" + env.StripeHost + path }
func reportsURL(path string) string { return "https://" + env.ReportsHost + path }

// reason is the reason code of a refusal, in either shape.
func (a answer) reason() string {
	if e, ok := a.body["error"].(map[string]any); ok {
		code, _ := e["code"].(string)
		return strings.TrimPrefix(code, "mayfly_")
	}
	code, _ := a.body["code"].(string)
	return code
}

// denial is the den_ id of a refusal, in either shape.
func (a answer) denial() string {
	if _, ok := a.body["error"]; ok {
		return a.header.Get("Request-Id") // where Stripe's clients look for it
	}
	id, _ := a.body["denial"].(string)
	return id
}

// passes waits until try is answered with 200: a grant reaches gateways by message.
func passes(t testing.TB, what string, try func() answer) answer {
	t.Helper()
	var a answer
	eventually(t, what, func() error {
		if a = try(); a.status != http.StatusOK {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	return a
}

// endOf returns a grant's not_after.
func endOf(t testing.TB, g api.Grant) time.Time {
	t.Helper()
	end, err := audit.ParseStamp(g.NotAfter)
	if err != nil {
		t.Fatal(err)
	}
	return end
}
