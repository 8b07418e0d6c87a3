package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/console"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/metrics"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/server"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/tokens"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/xds"
)

const (
	databaseName = "mayfly.db"
	sweepEvery   = time.Second
	recheckEvery = time.Second / 4 // a fraction of the shortest identity_max_age that makes sense
)

// daemon is everything that runs, joined.
type daemon struct {
	c         config
	dev       bool
	log       *slog.Logger
	kinds     kinds
	source    *spiffe.Source
	domains   []spiffeid.TrustDomain // whose workloads count
	foreign   *spiffe.Federation
	verifier  *spiffe.Verifier
	key       *audit.Verifier // of the record
	providers providers
	store     access.Store
	service   *access.Service
	feed      *feed.Server
	xds       *xds.Server
	server    *server.Server
	oauth     *oauth.Server
	console   *console.Console
	policy    *policyLoop
	pushed    chan struct{}  // holds a value when a forge told of a new commit
	proofs    *tokens.Proofs // of people with a session
	nonces    *tokens.Nonces
	traces    *trace.Tracer // nil: off
	metrics   *metrics.Registry
}

// run joins the parts and runs them until ctx ends or one of them fails.
func run(ctx context.Context, c config, dev bool, log *slog.Logger) error {
	d := &daemon{c: c, dev: dev, log: log, pushed: make(chan struct{}, 1)}
	store, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(c.DataDir, databaseName), Alarm: func(s string) { log.Error("clock alarm", "text", s) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	d.store = store
	g, ctx := errgroup.WithContext(ctx)
	if err := d.build(ctx, g); err != nil {
		g.Go(func() error { return err })
	} else {
		d.start(ctx, g)
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// build makes the parts, in the order in which they need each other.
func (d *daemon) build(ctx context.Context, g *errgroup.Group) error {
	for _, step := range []func() error{
		func() error { return d.identify(ctx, g) },
		func() error { return d.buildService(ctx) },
		func() error { return d.administer(ctx) },
		d.buildNodes,
		func() error { return d.service.KeepTokenKeys(ctx) },
		d.buildConsole,
		d.buildOAuth,
		d.buildServer,
		d.buildPolicy,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// identify gets mayflyd's SVID and refuses a development CA in production.
func (d *daemon) identify(ctx context.Context, g *errgroup.Group) error {
	id, err := spiffeid.FromString(d.c.Identity.ID)
	if err != nil {
		return err
	}
	onError := func(err error) { d.log.Warn("identity source", "error", err) }
	if d.c.Identity.Cert != "" {
		d.source, err = spiffe.NewFileSource(spiffe.FileConfig{
			Cert: d.c.Identity.Cert, Key: d.c.Identity.Key, Bundles: map[spiffeid.TrustDomain]string{id.TrustDomain(): d.c.Identity.Bundle}, OnError: onError,
		})
	} else {
		d.source, err = spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: d.c.Identity.WorkloadAPI, ID: id, JWT: true, OnError: onError})
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(d.c.DataDir, "bundles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	d.foreign, err = spiffe.NewFederation(spiffe.FederationConfig{
		Relations: d.c.Federation, Sources: []*spiffe.Source{d.source}, Dir: dir, Dev: d.dev, OnError: onError,
	})
	if err != nil {
		return err
	}
	g.Go(func() error { return d.source.Run(ctx) })
	g.Go(func() error { return d.foreign.Run(ctx) })
	if err := d.source.Wait(ctx); err != nil {
		return fmt.Errorf("no SVID for %s: %w", id, err)
	}
	var domains []spiffeid.TrustDomain
	for _, name := range d.c.TrustDomains {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return err
		}
		if !d.dev && d.source.Bundles().Development(td) {
			return fmt.Errorf("trust domain %s is a development CA's, whose SVIDs prove nothing: give --dev, or another CA", td)
		}
		domains = append(domains, td)
	}
	d.domains = domains
	d.verifier, err = spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: d.source.Bundles, TrustDomains: domains})
	return err
}

// buildService opens the record, checks it against the pin, and makes the verbs.
func (d *daemon) buildService(ctx context.Context) error {
	signer, key, err := recordKeys(d.c.DataDir, d.c.Origin)
	if err != nil {
		return err
	}
	pin, err := openPin(ctx, d.c.Pin, d.store, signer, key)
	if err != nil {
		return err
	}
	d.key = key
	return d.makeService(signer, advance(pin, d.log))
}

// makeService makes the verbs.
func (d *daemon) makeService(signer *audit.Signer, published func([]byte)) error {
	seal, err := sealKey(d.c.DataDir)
	if err != nil {
		return err
	}
	if d.kinds, err = newKinds(); err != nil {
		return err
	}
	if d.providers, err = newProviders(d.c, d.dev); err != nil {
		return err
	}
	if d.traces, err = trace.New(trace.Config{Settings: d.c.Traces, Service: "mayflyd", Version: version, Log: d.log}); err != nil {
		return err
	}
	d.measure()
	d.service, err = access.New(access.Config{
		Store: d.store, Signer: signer, Minter: grant.NewMinter(), SessionLife: d.c.Session, Traces: d.traces, Revoked: d.metrics.Revocations(), Log: d.log,
		Seal: seal, Tokens: d.c.Tokens.keys(), IdentityMaxAge: d.c.IdentityAge, Identities: d.providers,
		Policy:  policy.Options{Catalogue: d.kinds.catalogue, Credentialed: d.kinds.credentialed, GroupSources: d.providers.names(), ApproverKey: proof.KeyName, Dev: d.dev},
		Console: d.c.url(), PeoplePort: d.c.PeoplePort, Unsettled: d.dev,
		Wake: func() {
			if d.feed != nil { // nobody listens while mayflyd recovers
				d.feed.Wake()
			}
		},
		Bundles:   d.bundles,
		Published: published,
	})
	return err
}

// bundles are the foreign bundles that mayflyd holds itself.
func (d *daemon) bundles() []access.Bundle {
	var out []access.Bundle
	for _, s := range d.foreign.Status() {
		out = append(out, access.Bundle{Holder: "mayflyd", TrustDomain: s.TrustDomain.Name(), Fetched: s.Fetched, Authorities: s.Authorities, Problem: s.Problem})
	}
	return out
}

// buildNodes makes what gateways hear: the feed for sidecars, ADS for Envoys.
func (d *daemon) buildNodes() (err error) {
	d.feed, err = feed.NewServer(feed.ServerConfig{
		Source: d.service.Source(), Log: d.log,
		Peer: func(ctx context.Context) (string, error) {
			p, err := d.verifier.PeerFromContext(ctx, time.Now())
			return p.ID.String(), err
		},
	})
	if err != nil {
		return err
	}
	d.xds, err = xds.NewServer(xds.Config{
		Peer: func(ctx context.Context) (identity.Principal, error) {
			p, err := d.verifier.PeerFromContext(ctx, time.Now())
			return p.Principal, err
		},
		Apps: d.kinds.envoyApps(d.service), TrustDomains: d.c.TrustDomains, Log: d.log,
	})
	return err
}

// buildConsole makes the pages of the public door.
func (d *daemon) buildConsole() (err error) {
	d.console, err = console.New(console.Config{
		Service: d.service, Origin: d.c.url(), PeoplePort: d.c.PeoplePort, Dev: d.dev, Log: d.log,
		EnvoyStatus: func() map[string]console.EnvoyStatus {
			out := map[string]console.EnvoyStatus{}
			for instance, s := range d.envoyStatus() {
				out[instance] = console.EnvoyStatus(s)
			}
			return out
		},
	})
	return err
}

// buildServer makes the doors of people and workloads, with every provider that
// people log in with.
func (d *daemon) buildServer() error {
	hook, err := d.policyHook()
	if err != nil {
		return err
	}
	d.server, err = server.New(server.Config{
		Service: d.service, Store: d.store, Providers: d.providers.doors(), URL: d.c.url(), Pages: d.console, Peers: d.verifier, RecordKey: d.key.Key(),
		Authorization: d.oauth, Proofs: d.proofs, Nonce: d.nonce,
		PolicyHook: hook, EnvoyStatus: d.envoyStatus, TempDir: d.c.DataDir, Dev: d.dev, Log: d.log,
	})
	return err
}

func (d *daemon) envoyStatus() map[string]server.EnvoyStatus {
	out := map[string]server.EnvoyStatus{}
	for _, s := range d.xds.Statuses() {
		nack := s.NACK
		if nack == "" {
			nack = s.Problem
		}
		out[s.Node.ID] = server.EnvoyStatus{Connected: s.Connected, Nack: nack, Uncovered: s.Uncovered}
	}
	return out
}

func (d *daemon) buildPolicy() error {
	remote, err := d.policyRemote()
	if err != nil {
		return err
	}
	repository, err := git.Open(git.Options{
		Location: d.c.Policy.Repository, Branch: d.c.Policy.Branch, Folder: d.c.Policy.Folder, Dev: d.dev,
	})
	if err != nil {
		return err
	}
	first, err := readFirstSigner(d.c.Policy.FirstSigner)
	if err != nil {
		return err
	}
	d.policy = &policyLoop{
		service: d.service, repository: repository, remote: remote, pushed: d.pushed, first: first, every: d.c.Policy.Every, applied: d.xds.Refresh, log: d.log,
	}
	return nil
}

// start opens the doors and runs everything.
func (d *daemon) start(ctx context.Context, g *errgroup.Group) {
	public, err := tls.LoadX509KeyPair(d.c.Public.Cert, d.c.Public.Key)
	if err != nil {
		g.Go(func() error { return fmt.Errorf("public certificate: %w", err) })
		return
	}
	if err := d.open(ctx, g, public); err != nil {
		g.Go(func() error { return err })
		return
	}
	g.Go(func() error { return d.traces.Run(ctx) })
	g.Go(func() error { return d.feed.Run(ctx) })
	g.Go(func() error { return d.policy.run(ctx) })
	g.Go(func() error { return d.oauth.Run(ctx) })
	g.Go(func() error { return d.sweep(ctx) })
	g.Go(func() error { return d.compare(ctx) })
	g.Go(func() error { return d.sayObserved(ctx) })
	g.Go(func() error { return d.recheck(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		d.xds.Close()
		return nil
	})
	d.log.InfoContext(ctx, "serving", "public", d.c.Public.Address.String(), "nodes", d.c.Nodes.String(), "workloads", d.c.Workloads.String(), "dev", d.dev)
}

// recheck asks identity providers again about those who hold something. It has a
// loop of its own: a provider that hangs keeps nobody's end off the record.
func (d *daemon) recheck(ctx context.Context) error {
	return d.each(ctx, recheckEvery, func() {
		if err := d.service.Recheck(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "people not checked at their providers, tried again", "error", err)
		}
	})
}

// compare keeps what the digests of gateways are compared with.
func (d *daemon) compare(ctx context.Context) error {
	return d.each(ctx, sweepEvery, func() {
		if err := d.service.FillDigests(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "what gateways hold is not compared, tried again", "error", err)
		}
	})
}

// sweep writes down what time alone has brought, and signs what was committed.
// Gateways end grants by themselves.
func (d *daemon) sweep(ctx context.Context) error {
	return d.each(ctx, sweepEvery, func() {
		if _, err := d.service.Expire(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "requests not expired, tried again", "error", err)
		}
		if err := d.service.KeepTokenKeys(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "keys of tokens not changed, tried again", "error", err)
		}
		if err := d.service.Sweep(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "ends not recorded, tried again", "error", err)
		}
		if err := d.service.ReleaseHolds(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "a hold of policy is not ended, tried again", "error", err)
		}
		// Signed and pinned also while no gateway asks for a Pong.
		if _, err := d.service.Checkpoint(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "no checkpoint signed, tried again", "error", err)
		}
	})
}

// each calls f at each interval until ctx ends.
func (d *daemon) each(ctx context.Context, interval time.Duration, f func()) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f()
		}
	}
}
