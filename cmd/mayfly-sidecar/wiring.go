package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/credential"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/proxy/hop"
	"github.com/mayflyproxy/mayfly/proxy/spool"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/trace"
)

const sweepEvery = 2 * time.Second

// sidecar is everything that runs, joined.
type sidecar struct {
	c        config
	web      *envoy.WebCertificates // nil: it takes no people
	dev      bool
	log      *slog.Logger
	domains  []spiffeid.TrustDomain
	own      *spiffe.Source
	listener *spiffe.Source
	foreign  *spiffe.Federation
	instance feed.Instance
	kinds    map[string]app.Kind
	secrets  *credential.Files
	minter   *grant.Minter
	clock    *proxy.Clock
	witness  *proxy.Witness
	alarms   alarms
	table    *proxy.Table
	client   *feed.Client
	actions  *proxy.Actions
	denials  proxy.Denials
	halfway  *envoy.HalfClosed
	traces   *trace.Tracer               // nil: off
	spool    atomic.Pointer[spool.Spool] // nil until the time is known
}

// run joins the parts and runs them until ctx ends or one of them fails.
func run(ctx context.Context, c config, web *envoy.WebCertificates, o options, log *slog.Logger) error {
	s := &sidecar{c: c, web: web, dev: o.dev, log: log, minter: grant.NewMinter(), actions: proxy.NewActions()}
	s.halfway = envoy.NewHalfClosed(c.RunDir, func(text string) { s.alarms.add(audit.SpoolAlarm{Reason: string(grant.Internal), Text: text}) }, log)
	g, ctx := errgroup.WithContext(ctx)
	if err := s.identities(ctx, g); err != nil {
		return stopped(g, ctx, err)
	}
	if err := s.memory(); err != nil {
		return stopped(g, ctx, err)
	}
	conn, err := s.connect()
	if err != nil {
		return stopped(g, ctx, err)
	}
	defer func() { _ = conn.Close() }()
	g.Go(func() error { return s.client.Run(ctx) })
	g.Go(func() error { return s.clock.Run(ctx) })
	g.Go(func() error { return s.witness.Run(ctx) })
	g.Go(func() error { return s.table.Run(ctx) })
	g.Go(func() error { return s.traces.Run(ctx) })
	if err := s.operators(ctx, g); err != nil {
		return stopped(g, ctx, err)
	}
	g.Go(func() error { return s.serve(ctx, g) })
	return ended(g.Wait())
}

// stopped is for a failure before everything runs: what runs is left to ctx's end.
func stopped(g *errgroup.Group, ctx context.Context, err error) error {
	g.Go(func() error { return err })
	<-ctx.Done()
	return ended(g.Wait())
}

// ended makes of an asked-for end no error.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// identities gets both SVIDs and refuses a development CA in production.
func (s *sidecar) identities(ctx context.Context, g *errgroup.Group) error {
	for _, name := range s.c.TrustDomains {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return err
		}
		s.domains = append(s.domains, td)
	}
	for _, one := range []struct {
		into **spiffe.Source
		c    svidConfig
	}{{&s.own, s.c.Identity.Sidecar}, {&s.listener, s.c.Identity.Listener}} {
		source, err := one.c.source(s.c.Identity.WorkloadAPI, s.log)
		if err != nil {
			return err
		}
		*one.into = source
		g.Go(func() error { return source.Run(ctx) })
		if err := source.Wait(ctx); err != nil {
			return fmt.Errorf("no SVID for %s: %w", one.c.ID, err)
		}
	}
	if err := s.federate(ctx, g); err != nil {
		return err
	}
	for _, td := range s.domains {
		if !s.dev && s.own.Bundles().Development(td) {
			return fmt.Errorf("trust domain %s is a development CA's, whose SVIDs prove nothing: give --dev, or another CA", td)
		}
	}
	return nil
}

// federate follows the bundles of foreign trust domains, for our own check and for
// Envoy's.
func (s *sidecar) federate(ctx context.Context, g *errgroup.Group) error {
	dir := filepath.Join(s.c.StateDir, "bundles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	s.foreign, err = spiffe.NewFederation(spiffe.FederationConfig{
		Relations: s.c.Federation, Sources: []*spiffe.Source{s.own, s.listener}, Dir: dir, Dev: s.dev,
		OnError: func(err error) { s.log.Warn("federation", "error", err) },
	})
	if err != nil {
		return err
	}
	g.Go(func() error { return s.foreign.Run(ctx) })
	return nil
}

// source makes the source of one SVID, by files or by the Workload API.
func (c svidConfig) source(workloadAPI string, log *slog.Logger) (*spiffe.Source, error) {
	id, err := spiffeid.FromString(c.ID)
	if err != nil {
		return nil, err
	}
	onError := func(err error) { log.Warn("identity source", "id", c.ID, "error", err) }
	if c.Cert != "" {
		return spiffe.NewFileSource(spiffe.FileConfig{
			Cert: c.Cert, Key: c.Key, Bundles: map[spiffeid.TrustDomain]string{id.TrustDomain(): c.Bundle}, OnError: onError,
		})
	}
	return spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: workloadAPI, ID: id, OnError: onError})
}

// memory makes what requests are decided from.
func (s *sidecar) memory() error {
	stripeKind, err := stripe.New()
	if err != nil {
		return err
	}
	webKind, err := web.New()
	if err != nil {
		return err
	}
	s.kinds = map[string]app.Kind{stripeKind.Name(): stripeKind, webKind.Name(): webKind}
	entries := map[string]credential.Entry{}
	for name, c := range s.c.Secrets {
		entries[name] = credential.Entry{File: c.File, Apps: c.Apps, Hosts: c.Hosts}
	}
	if s.secrets, err = credential.NewFiles(credential.Config{Entries: entries, Dev: s.dev}); err != nil {
		return err
	}
	if err := os.MkdirAll(s.c.StateDir, 0o700); err != nil {
		return err
	}
	if s.clock, err = proxy.OpenClock(proxy.ClockConfig{Mark: filepath.Join(s.c.StateDir, "clock"), Log: s.log}); err != nil {
		return err
	}
	if s.instance, err = feed.NewInstance(s.c.Identity.Sidecar.ID); err != nil {
		return err
	}
	if s.traces, err = trace.New(trace.Config{
		Settings: s.c.Traces, Service: "mayfly-sidecar", Version: version, Instance: s.instance.String(), Log: s.log,
	}); err != nil {
		return err
	}
	record, err := s.c.Record.open()
	if err != nil {
		return err
	}
	if s.witness, err = proxy.OpenWitness(proxy.WitnessConfig{Record: record, File: filepath.Join(s.c.StateDir, checkpointFile), Log: s.log}); err != nil {
		return err
	}
	proofs, err := s.c.Proof.open(s.kinds, s.c.StateDir, s.log)
	if err != nil {
		return err
	}
	s.table, err = proxy.NewTable(proxy.TableConfig{
		Clock: s.clock, Admit: s.admit, Sidecar: s.c.Identity.Sidecar.ID, Witness: s.witness, Proofs: proofs, Describe: s.describe,
		Alarm: s.alarms.raised, Log: s.log,
	})
	return err
}

// admit refuses an app that this gateway's own configuration cannot serve.
func (s *sidecar) admit(a *proxy.App) error {
	kind, ok := s.kinds[a.Kind]
	if !ok {
		return grant.Deny(grant.UnsupportedGrant, "this sidecar does not know apps of kind %s", a.Kind)
	}
	if _, ok := kind.(app.Credentialed); !ok {
		return nil
	}
	for _, c := range a.Credentials {
		if err := s.secrets.Allows(credential.Use{Name: c.Secret, App: a.Name, Host: a.Upstream.Host}); err != nil {
			return err
		}
	}
	return nil
}

// describe tells in each Ping where the spool stands, and the foreign bundles.
func (s *sidecar) describe(p *feed.Ping) {
	for _, one := range s.foreign.Status() {
		b := &feed.ForeignBundle{TrustDomain: one.TrustDomain.Name(), AgeUs: -1, Problem: one.Problem, Authorities: uint32(one.Authorities)}
		if !one.Fetched.IsZero() {
			b.AgeUs = max(time.Since(one.Fetched), 0).Microseconds()
		}
		p.Bundles = append(p.Bundles, b)
	}
	if sp := s.spool.Load(); sp != nil {
		seq, head := sp.Head()
		p.Spools = append(p.Spools, &feed.SpoolHead{Spool: sp.ID(), Seq: seq, ChainHead: head[:]})
	}
}

// connect makes the connection to mayflyd and the feed's client.
func (s *sidecar) connect() (*grpc.ClientConn, error) {
	control, err := spiffeid.FromString(s.c.ControlPlane.ID)
	if err != nil {
		return nil, err
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: s.own.Bundles, TrustDomains: []spiffeid.TrustDomain{control.TrustDomain()}})
	if err != nil {
		return nil, err
	}
	tlsConfig, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: s.own, Verifier: verifier, Authorize: spiffe.Only(control), NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(s.c.ControlPlane.Address, append(feed.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig)))...)
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for name, k := range s.kinds {
		digests[name] = k.Catalogue().Digest()
	}

	s.client, err = feed.NewClient(feed.ClientConfig{
		Conn: conn, Instance: s.instance, Version: version, Reader: proxy.Reader, Catalogues: digests,
		Sink: s.table, BootNow: proxy.BootNow, Alarm: s.alarms.fed, Log: s.log,
	})
	return conn, err
}

// operators opens the doors for whoever runs the machine.
func (s *sidecar) operators(ctx context.Context, g *errgroup.Group) error {
	if err := envoy.RunDir(s.c.RunDir); err != nil {
		return err
	}
	control, err := listenControl(s.c.RunDir)
	if err != nil {
		return err
	}
	serveHTTP(ctx, g, &http.Server{Handler: s.controlHandler(), ReadHeaderTimeout: 5 * time.Second}, control)
	if !s.c.Health.IsValid() {
		return nil
	}
	health, err := net.Listen("tcp", s.c.Health.String())
	if err != nil {
		return err
	}
	serveHTTP(ctx, g, &http.Server{Handler: s.healthHandler(), ReadHeaderTimeout: 5 * time.Second}, health)
	return nil
}

// serve opens the record once the time is known, ships what a process before
// left, and only then starts Envoy.
func (s *sidecar) serve(ctx context.Context, g *errgroup.Group) error {
	if err := s.awaitTime(ctx); err != nil {
		return err
	}
	sp, err := spool.Open(spool.Config{
		Dir: filepath.Join(s.c.StateDir, "spool"), Node: s.instance.String(), Version: version, Minter: s.minter,
		Now: s.table.Now, Ship: s.ship, Limit: s.c.SpoolBytes, Log: s.log,
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	g.Go(func() error {
		defer close(done)
		return sp.Run(ctx)
	})
	defer func() {
		<-done
		_ = sp.Close()
	}()
	s.spool.Store(sp)
	s.alarms.open(sp)
	for err := sp.Ship(ctx); err != nil; err = sp.Ship(ctx) {
		s.log.WarnContext(ctx, "the record of the process before is not shipped yet: nothing is served", "error", err)
		if !pause(ctx, time.Second) {
			return nil
		}
	}
	return s.gateway(ctx, g, sp)
}

// awaitTime waits for the first Pong, or for the mark on disk. A gateway that does not
// believe what it is shown records what it refuses.
func (s *sidecar) awaitTime(ctx context.Context) error {
	for s.table.Told() != nil {
		if !pause(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

func (s *sidecar) ship(ctx context.Context, seg audit.Segment) (uint64, error) {
	resp, err := s.client.Ingest(ctx, &feed.IngestRequest{
		Spool: seg.Spool, First: seg.First, Last: seg.Last, Frames: seg.Frames, Root: seg.Root[:], ChainHead: seg.ChainHead[:],
	})
	if status.Code(err) == codes.InvalidArgument {
		return 0, fmt.Errorf("%w: %w", spool.ErrRefused, err)
	}
	if err != nil {
		return 0, err
	}
	return resp.GetNextSeq(), nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, g *errgroup.Group, s *http.Server, l net.Listener) {
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
}

func serveGRPC(ctx context.Context, g *errgroup.Group, s *grpc.Server, l net.Listener) {
	g.Go(func() error { return s.Serve(l) })
	g.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return nil
	})
}

var (
	_ authv3.AuthorizationServer         = (*proxy.Checker)(nil)
	_ accesslogv3.AccessLogServiceServer = (*proxy.AccessLog)(nil)
	_ credential.Source                  = (*credential.Files)(nil)
	_ hop.Gate                           = (*proxy.Table)(nil)
)
