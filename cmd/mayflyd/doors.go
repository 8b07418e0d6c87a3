package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/server"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// open opens the doors of contracts §8.
func (d *daemon) open(ctx context.Context, g *errgroup.Group, public tls.Certificate) error {
	mutual, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: d.source, Verifier: d.verifier, Authorize: spiffe.AnyWorkload(), NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return err
	}
	publicTLS := &tls.Config{
		Certificates: []tls.Certificate{public}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true,
	}
	if err := d.openHTTP(ctx, g, d.c.Public.Address, publicTLS, publicDoor(d.oauth.Public(), d.server.Public(), d.console.Handler())); err != nil {
		return err
	}
	if err := d.openHTTP(ctx, g, d.c.Workloads, mutual, workloadsDoor(d.oauth.Workloads(), d.server.Workloads())); err != nil {
		return err
	}
	if d.c.Health.IsValid() {
		if err := d.openHTTP(ctx, g, d.c.Health, nil, d.health()); err != nil {
			return err
		}
	}
	return d.openNodes(ctx, g, mutual)
}

// publicDoor gives each path of the public door to whom it belongs: tokens to the
// authorization server, the API and logins to the server, the others to the console.
func publicDoor(tokens, api, console http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case oauth.Owns(path):
			tokens.ServeHTTP(w, r)
		case server.Owns(path):
			api.ServeHTTP(w, r)
		default:
			console.ServeHTTP(w, r)
		}
	})
}

func workloadsDoor(tokens, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if oauth.Owns(r.URL.Path) {
			tokens.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

func (d *daemon) openHTTP(ctx context.Context, g *errgroup.Group, address netip.AddrPort, config *tls.Config, h http.Handler) error {
	l, err := net.Listen("tcp", address.String())
	if err != nil {
		return err
	}
	if config != nil {
		l = tls.NewListener(spiffe.Terminate(l), config)
	}
	s := &http.Server{
		Handler: h, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
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
	return nil
}

// openNodes serves the feed and ADS: each asks for the identity that it is for.
func (d *daemon) openNodes(ctx context.Context, g *errgroup.Group, mutual *tls.Config) error {
	l, err := net.Listen("tcp", d.c.Nodes.String())
	if err != nil {
		return err
	}
	s := grpc.NewServer(append(feed.ServerOptions(), grpc.Creds(credentials.NewTLS(mutual)))...)
	feed.RegisterFeedServer(s, d.feed)
	feed.RegisterSessionsServer(s, d.feed)
	feed.RegisterTokensServer(s, d.feed)
	d.xds.Register(s)
	g.Go(func() error { return s.Serve(spiffe.Terminate(l)) })
	g.Go(func() error {
		<-ctx.Done()
		s.Stop()
		return nil
	})
	return nil
}

// health is for the machine: nothing can be changed there.
func (d *daemon) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.service.Policy(r.Context()); err != nil {
			http.Error(w, "no policy is in force", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", d.metrics.Handler())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
