package fault

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/store/storetest"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	lease  = 15 * time.Second // stale_after of the app below
	bubble = time.Second      // a wait on the bubble's clock: pings and pongs in between
)

// rules are the policy of the planes below.
func rules() map[string][]byte {
	return map[string][]byte{
		"mayfly.yaml": []byte(`organisation: acme
caps: {grant: 12h, pending_per_principal: 50}
environments: [prod]
nodes:
  - {sidecar: "spiffe://acme.example/gw/sidecar", listener: "spiffe://acme.example/gw/listener", role: gateway, apps: [stripe], environment: prod}
security: group:idp/security
`),
		"apps/stripe.yaml": []byte(`app: stripe
kind: stripe
owner: team-payments
hosts: [stripe.acme.example]
callers: [services]
upstream: {url: "https://api.stripe.com"}
credential:
  - {operations: [refunds.create], secret: stripe-refunds}
stale_after: 15s
streams: deadline
`),
		"entitlements/stripe/refunds.yaml": []byte(`entitlement: stripe/refunds
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {amount: {max: 5000}}}
sensitivity: money
grant: {max: 2h, default: 30m}
request: {who: ["spiffe://acme.example/ns/pay/sa/refunder"], for: [self], justification: none}
approve:
  auto: {when: "true"}
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 20m}
`),
	}
}

// noon is when a plane's machine starts: the bubble's own year is long past.
func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// plane is mayflyd without its doors: the verbs over a real database, and the
// feed's server. Its machine's clocks are the bubble's, and can be moved.
type plane struct {
	t       *testing.T
	dir     string
	began   time.Time
	wall    atomic.Int64 // how far the wall clock is off
	key     audit.SigningKey
	minter  *grant.Minter
	service *access.Service
	faulty  *storetest.Faulty
	wire    atomic.Pointer[feedtest.Wire]
	alarms  atomic.Int32
	stop    func()
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, dir: t.TempDir(), began: time.Now(), minter: grant.NewMinter()}
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	p.key = key
	p.start()
	t.Cleanup(func() { p.stop() })
	if _, err := p.service.ApplyPolicy(t.Context(), access.PolicyCommit{Files: rules(), Commit: "0000000000000000000000000000000000000001", Signer: "sam"}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plane) now() time.Time {
	return noon().Add(time.Since(p.began)).Add(time.Duration(p.wall.Load()))
}
func (p *plane) bootNow() time.Duration  { return time.Hour + time.Since(p.began) }
func (p *plane) database() string        { return filepath.Join(p.dir, "mayfly.db") }
func (p *plane) offset(d time.Duration)  { p.wall.Store(int64(d)) }
func (p *plane) current() *feedtest.Wire { return p.wire.Load() }

// start opens the database and serves, for the first time or again.
func (p *plane) start() {
	p.t.Helper()
	db, err := sqlite.Open(p.t.Context(), sqlite.Config{
		Path: p.database(), Now: p.now, BootNow: p.bootNow, Alarm: func(string) { p.alarms.Add(1) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.faulty = storetest.NewFaulty(db)
	signer := check[*audit.Signer](p.t)(audit.NewSigner(p.key))
	kind := check[*stripe.Kind](p.t)(stripe.New())
	p.service, err = access.New(access.Config{
		Unsettled: true,
		Store:     p.faulty, Signer: signer, Minter: p.minter,
		Policy: policy.Options{
			Catalogue:    func(name string) (*scope.Catalogue, bool) { return kind.Catalogue(), name == kind.Name() },
			Credentialed: func(string) bool { return true }, GroupSources: []string{"idp"}, Dev: true,
		},
		Wake: func() {
			if w := p.current(); w != nil {
				w.Server.Wake()
			}
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	wire := feedtest.Serve(p.t, p.service.Source(), env.SidecarID)
	p.wire.Store(wire)
	p.stop = sync.OnceFunc(func() {
		p.faulty.Heal()
		wire.Stop()
		if err := db.Close(); err != nil {
			p.t.Error(err)
		}
	})
}

func (p *plane) refunder() access.Caller {
	return access.Caller{Principal: check[identity.Principal](p.t)(identity.ParsePrincipal(env.RefunderID))}
}

// grant makes a live grant to refund up to 50.00.
func (p *plane) grant(d time.Duration) grant.GrantID {
	p.t.Helper()
	r, err := p.service.Request(p.t.Context(), p.refunder(), access.Ask{Entitlement: "stripe/refunds", Duration: d})
	if err != nil || r.State != access.Approved {
		p.t.Fatalf("request is %s (%s): %v", r.State, r.Sentence, err)
	}
	return r.Grant
}

// state is a grant's, as mayflyd tells it.
func (p *plane) state(id grant.GrantID) grant.State {
	p.t.Helper()
	return check[access.GrantView](p.t)(p.service.ShowGrant(p.t.Context(), p.refunder(), id)).State
}

// gateway is a sidecar without its doors: the table that decides, filled by the
// feed's client. Its boot clock is the bubble's.
type gateway struct {
	*proxy.Table
	t        *testing.T
	client   *feed.Client
	instance feed.Instance
	spool    string
}

func newGateway(t *testing.T, p *plane) *gateway {
	t.Helper()
	g := &gateway{t: t, spool: p.minter.NewSpoolID(time.Now()).String()}
	clock := check[*proxy.Clock](t)(proxy.OpenClock(proxy.ClockConfig{Boot: p.bootNow, Mark: filepath.Join(t.TempDir(), "mark")}))
	g.Table = check[*proxy.Table](t)(proxy.NewTable(proxy.TableConfig{Clock: clock}))
	g.instance = check[feed.Instance](t)(feed.NewInstance(env.SidecarID))
	var conn grpc.ClientConnInterface = feedtest.DialFunc(t, p.current)
	var err error
	if g.client, err = feed.NewClient(feed.ClientConfig{Conn: conn, Instance: g.instance, Reader: proxy.Reader, Sink: g.Table, BootNow: p.bootNow}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.client.Run(ctx) })
	running.Go(func() { _ = clock.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return g
}

// asks returns the reason of the refusal of a refund, "" if it may pass.
func (g *gateway) asks() grant.Reason {
	g.t.Helper()
	_, err := g.Find(check[identity.Principal](g.t)(identity.ParsePrincipal(env.RefunderID)), scope.Operation{
		App: "stripe", Name: "refunds.create", Class: scope.ClassMoney, Attributes: scope.Attributes{"amount": scope.MinorUnits(100)},
	}, g.Now(), grant.GrantID{})
	return grant.ReasonOf(err)
}

// want fails the test unless a refund is refused for that reason; "" wants it to pass.
func (g *gateway) want(when string, reason grant.Reason) {
	g.t.Helper()
	if got := g.asks(); got != reason {
		g.t.Fatalf("%s: %q, want %q", when, got, reason)
	}
}

// reserve has one intent acknowledged, within Check's limit.
func (g *gateway) reserve(action grant.ActionID, id grant.GrantID) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), proxy.DecideWithin)
	defer cancel()
	sum := sha256.Sum256([]byte(action.String()))
	return proxy.FeedReserver{Client: g.client}.Reserve(ctx, proxy.Action{ID: action, Grant: id, App: "stripe"}, "money", "1.00 usd",
		proxy.Mark{Spool: g.spool, Seq: 1, Frame: audit.Hash(sum)})
}

// settle lets time pass on the bubble's clock.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
