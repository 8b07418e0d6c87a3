package attack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/tokens"
)

const tokenService = "https://mayfly.acme.example"

// mint is the control plane with its feed, a few gateways' tables, and one live grant
// that tokens are signed for.
type mint struct {
	t       *testing.T
	service *access.Service
	wire    atomic.Pointer[feedtest.Wire]
	grant   grant.GrantID
	doors   []*tokenDoor
}

// tokenDoor is a gateway as far as it verifies tokens.
type tokenDoor struct {
	*proxy.Table
	verifier *tokens.Verifier
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newMint(t *testing.T, gateways int) *mint {
	t.Helper()
	m := &mint{t: t}
	db := must[*sqlite.Store](t)(sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "mayfly.db")}))
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	kind := must[*web.Kind](t)(web.New())
	m.service = must[*access.Service](t)(access.New(access.Config{
		Unsettled: true,
		Store:     db, Signer: must[*audit.Signer](t)(audit.NewSigner(key)), Minter: grant.NewMinter(), Seal: access.NewSealKey(), Console: tokenService,
		Policy: policy.Options{
			Catalogue:    func(name string) (*scope.Catalogue, bool) { return kind.Catalogue(), name == kind.Name() },
			GroupSources: []string{"idp"}, Dev: true,
		},
		Wake: func() {
			if w := m.wire.Load(); w != nil {
				w.Server.Wake()
			}
		},
	}))
	if _, err := m.service.ApplyPolicy(t.Context(), access.PolicyCommit{Files: mintRules(), Commit: strings.Repeat("1", 40), Signer: "sam"}); err != nil {
		t.Fatal(err)
	}
	if err := m.service.KeepTokenKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire := feedtest.Serve(t, m.service.Source(), env.SidecarID)
	m.wire.Store(wire)
	t.Cleanup(func() {
		wire.Stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	r := must[access.Request](t)(m.service.Request(t.Context(), m.as(env.RefunderID), access.Ask{Entitlement: "reports/read", Duration: time.Hour}))
	if m.grant = r.Grant; r.State != access.Approved {
		t.Fatalf("request is %s: %s", r.State, r.Sentence)
	}
	for range gateways {
		m.doors = append(m.doors, m.open())
	}
	return m
}

func mintRules() map[string][]byte {
	return map[string][]byte{
		"mayfly.yaml": []byte(`organisation: acme
caps: {grant: 12h, pending_per_principal: 50}
environments: [prod]
nodes:
  - {sidecar: "spiffe://acme.example/gw/sidecar", listener: "spiffe://acme.example/gw/listener", role: gateway, apps: [reports], environment: prod}
security: group:idp/security
`),
		"apps/reports.yaml": []byte(`app: reports
kind: web
owner: team-data
hosts: [reports.acme.example]
callers: [services]
assert: true
upstream: {url: "https://reports.internal.acme.example"}
stale_after: 15s
`),
		"entitlements/reports/read.yaml": []byte(`entitlement: reports/read
owner: team-data
app: reports
allow:
  - {operations: [http.get]}
grant: {max: 2h, default: 30m}
request: {who: ["` + env.RefunderID + `"], for: [self], justification: none}
approve:
  auto: {when: "true"}
  steps:
    - {any: [group:idp/data-leads], count: 1, within: 20m}
`),
	}
}

func (m *mint) as(who string, groups ...string) access.Caller {
	m.t.Helper()
	c := access.Caller{Principal: must[identity.Principal](m.t)(identity.ParsePrincipal(who)), GroupsAt: time.Now()}
	for _, g := range groups {
		c.Groups = append(c.Groups, must[identity.Group](m.t)(identity.ParseGroup(g)))
	}
	return c
}

func (m *mint) security() access.Caller { return m.as("user:idp:dave", "group:idp/security") }

// open starts one gateway's table and waits until it decides.
func (m *mint) open() *tokenDoor {
	m.t.Helper()
	t := m.t
	clock := must[*proxy.Clock](t)(proxy.OpenClock(proxy.ClockConfig{Mark: filepath.Join(t.TempDir(), "mark")}))
	d := &tokenDoor{Table: must[*proxy.Table](t)(proxy.NewTable(proxy.TableConfig{Clock: clock}))}
	client := must[*feed.Client](t)(feed.NewClient(feed.ClientConfig{
		Conn: feedtest.DialFunc(t, m.wire.Load), Instance: must[feed.Instance](t)(feed.NewInstance(env.SidecarID)),
		Reader: proxy.Reader, Sink: d.Table, BootNow: proxy.BootNow,
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = client.Run(ctx) })
	running.Go(func() { _ = clock.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	if err := env.Eventually(t.Context(), "a gateway decides", func() error { return d.Fresh("reports") }); err != nil {
		t.Fatal(err)
	}
	d.verifier = must[*tokens.Verifier](t)(tokens.NewVerifier(tokens.VerifierConfig{
		Issuer: tokenService, Keys: func() *tokens.KeySet { set, _ := d.Keys(); return set },
	}))
	return d
}

// sign has the control plane sign a token with the key that signs now.
func (m *mint) sign(ctx context.Context) (string, error) {
	i := feed.Instance{Sidecar: env.SidecarID, Run: strings.Repeat("a", 32)}
	by := [32]byte{7}
	out, err := m.service.Source().Assert(ctx, i, &feed.AssertRequest{Grant: m.grant.String(), Bound: by[:]})
	if err == nil && out.GetToken() == "" {
		err = errors.New(out.GetReason())
	}
	return out.GetToken(), err
}

// takes returns nil if a gateway takes a token.
func (d *tokenDoor) takes(token string) error {
	_, err := d.verifier.Verify(token, time.Now(), tokens.Expect{Audience: "https://reports.acme.example", Presenter: tokens.Certificate([32]byte{7})})
	return err
}

// keys returns the kid of the key in a state.
func (m *mint) key(state access.TokenKeyState) string {
	m.t.Helper()
	for _, k := range must[[]access.TokenKeyView](m.t)(m.service.Keys(m.t.Context(), m.security())) {
		if k.State == state {
			return k.ID
		}
	}
	m.t.Fatalf("no key is %s", state)
	return ""
}

// rotate has the next key sign as soon as every gateway has it.
func (m *mint) rotate() {
	m.t.Helper()
	err := env.Eventually(m.t.Context(), "every gateway knows the next key", func() error {
		return m.service.RotateKeys(m.t.Context(), m.security(), true)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestTokenOfARemovedKeyIsRefusedOnEveryGateway(t *testing.T) {
	m := newMint(t, 3)
	old := must[string](t)(m.sign(t.Context()))
	for i, d := range m.doors {
		if err := d.takes(old); err != nil {
			t.Fatalf("gateway %d: a good token is refused: %v", i, err)
		}
	}
	kid := m.key(access.KeyActive)
	if err := m.service.RemoveKey(t.Context(), m.security(), kid); err != nil {
		t.Fatal(err)
	}
	fresh := must[string](t)(m.sign(t.Context())) // another key signs at once
	for i, d := range m.doors {
		if err := env.Eventually(t.Context(), fmt.Sprintf("gateway %d hears of the removal", i), func() error {
			if set, _ := d.Keys(); len(set.Keys()) > 0 {
				if _, held := set.Lookup(kid); !held {
					return nil
				}
			}
			return errors.New("it holds the key")
		}); err != nil {
			t.Fatal(err)
		}
		if err := d.takes(old); grant.ReasonOf(err) != grant.BadToken {
			t.Errorf("gateway %d: the removed key counts, although it was verified before: %v", i, err)
		}
		if err := d.takes(fresh); err != nil {
			t.Errorf("gateway %d: a token of the key that signs now is refused: %v", i, err)
		}
	}
}

// load is what a rotation is done under.
type load struct {
	rate   int           // verifications a second
	pause  time.Duration // between two changes
	figure time.Duration // within which a removal counts everywhere; 0: only order is asserted
}

func theLoad() load {
	if os.Getenv("MAYFLY_LONG") == "1" {
		return load{rate: 1000, pause: 5 * time.Second, figure: time.Second}
	}
	return load{rate: 200, pause: 200 * time.Millisecond}
}

// drive verifies tokens on all gateways in turn at a rate, and keeps what was refused.
type drive struct {
	mu      sync.Mutex
	tokens  []string // signed lately, the newest last
	removed string   // kid of the removed key
	refused map[string]int
	done    int
	late    time.Time // when a token of the removed key was last taken
}

func (d *drive) newest(n int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tokens[len(d.tokens)-1-n%len(d.tokens)]
}

func (d *drive) signed(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tokens = append(d.tokens, token); len(d.tokens) > 16 { // none near its end
		d.tokens = d.tokens[1:]
	}
}

// judged notes how one verification went.
func (d *drive) judged(token string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	ofRemoved := d.removed != "" && strings.HasPrefix(token, d.removed)
	switch {
	case err == nil && ofRemoved:
		d.late = time.Now()
	case err != nil && !ofRemoved:
		d.refused[err.Error()]++
	}
}

func TestTokenKeysRotateUnderLoad(t *testing.T) {
	m, l := newMint(t, 3), theLoad()
	d := &drive{refused: map[string]int{}}
	d.signed(must[string](t)(m.sign(t.Context())))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { m.keepSigning(ctx, d) })
	running.Go(func() { m.keepVerifying(ctx, d, l.rate) })
	for range 3 {
		wait(t, l.pause)
		m.rotate()
	}
	wait(t, l.pause)
	header, _, _ := strings.Cut(d.newest(0), ".")
	d.mu.Lock()
	d.removed = header // names the kid, and nothing else that differs
	d.mu.Unlock()
	if err := m.service.RemoveKey(t.Context(), m.security(), m.key(access.KeyActive)); err != nil {
		t.Fatal(err)
	}
	removed := time.Now()
	wait(t, max(l.pause, time.Second))
	cancel()
	running.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) > 0 {
		t.Errorf("false refusals: %v", d.refused)
	}
	if after := d.late.Sub(removed); l.figure > 0 && after > l.figure {
		t.Errorf("the removed key counted for %s after its removal", after)
	}
	t.Logf("%d verifications, the removed key last counted %s after its removal", d.done, d.late.Sub(removed))
}

// keepSigning signs tokens all the time, one every few milliseconds.
func (m *mint) keepSigning(ctx context.Context, d *drive) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if token, err := m.sign(ctx); err == nil {
				d.signed(token)
			} else if ctx.Err() == nil {
				m.t.Errorf("no token is signed: %v", err)
			}
		}
	}
}

func (m *mint) keepVerifying(ctx context.Context, d *drive, rate int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for ; float64(n) < time.Since(began).Seconds()*float64(rate); n++ { // what a slow tick missed, too
			token := d.newest(n)
			d.judged(token, m.doors[n%len(m.doors)].takes(token))
		}
	}
}

// wait lets the load run.
func wait(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
