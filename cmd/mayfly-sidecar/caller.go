package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// callerCommand is the role caller: no Envoy, no decisions, no credentials.
func callerCommand(root *cobra.Command, o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "caller",
		Short: "Lets a workload's programs that speak no mTLS through to a gateway",
		Long: `Takes plain HTTP from this machine's own programs, at loopback addresses and Unix
sockets, and carries it to a gateway with the workload's SVID. It decides nothing, and
starts no Envoy. The key that programs show at an address is made at each start and
written to a file that only this user reads.`,
		Example: "  mayfly-sidecar caller --config /etc/mayfly/caller.yaml\n  mayfly-sidecar caller --config caller.yaml --check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("config") {
				o.config = callerFile
			}
			c, err := loadCaller(o.config)
			if err != nil || o.check {
				return err
			}
			return runCaller(cmd.Context(), c, o.dev, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
		},
	}
	cmd.Flags().AddFlag(root.Flags().Lookup("check"))
	return cmd
}

// kindOf returns the kind with that name.
func kindOf(name string) (app.Kind, error) {
	switch name {
	case "stripe":
		return stripe.New()
	case "web":
		return web.New()
	}
	return nil, fmt.Errorf("kind: %q, want stripe or web", name)
}

// runCaller lets programs in until ctx ends.
func runCaller(ctx context.Context, c callerConfig, dev bool, log *slog.Logger) error {
	source, err := c.Identity.svid().source(c.Identity.WorkloadAPI, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return source.Run(ctx) })
	if err := openCallers(ctx, g, c, source, dev, log); err != nil {
		return stopped(g, ctx, err)
	}
	return ended(g.Wait())
}

// openCallers opens every listener, and only then writes their keys: a key that is
// there is one that is taken.
func openCallers(ctx context.Context, g *errgroup.Group, c callerConfig, source *spiffe.Source, dev bool, log *slog.Logger) error {
	if err := source.Wait(ctx); err != nil {
		return fmt.Errorf("no SVID for %s: %w", c.Identity.ID, err)
	}
	ids, err := c.Gateway.identities()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if td := id.TrustDomain(); !dev && source.Bundles().Development(td) {
			return fmt.Errorf("trust domain %s is a development CA's, whose SVIDs prove nothing: give --dev, or another CA", td)
		}
	}
	keys := map[string]caller.Secret{}
	for _, l := range c.Listeners {
		services, err := caller.NewServices(caller.ServicesConfig{Gateway: c.Gateway.Address, Host: l.Host, IDs: ids, Source: source})
		if err != nil {
			return err
		}
		kind, err := kindOf(l.Kind)
		if err != nil {
			return err
		}
		config := caller.Config{
			Address: l.Address, Socket: l.Socket, Host: l.Host, Form: caller.FormOf(l.Kind), Door: services, Refuse: kind.Refuse, Log: log,
		}
		if l.KeyFile != "" {
			config.Secret = caller.NewSecret(config.Form.KeyPrefix)
			keys[l.KeyFile] = config.Secret
		}
		listener, err := caller.Open(config)
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer services.Close()
			return listener.Run(ctx)
		})
		log.InfoContext(ctx, "listening", "address", listener.URL(), "host", l.Host)
	}
	for path, key := range keys {
		if err := writeKey(path, key); err != nil {
			return err
		}
		g.Go(func() error {
			<-ctx.Done()
			return os.Remove(path)
		})
	}
	return nil
}

// writeKey puts a key where only this user reads it, whole or not at all.
func writeKey(path string, key caller.Secret) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // made 0600
	if err != nil {
		return fmt.Errorf("key_file: %w", err)
	}
	_, err = f.WriteString(key.Reveal() + "\n")
	if end := f.Close(); err == nil {
		err = end
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("key_file: %w", err)
	}
	return nil
}
