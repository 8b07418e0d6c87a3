package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// caOptions are the flags of ca serve.
type caOptions struct {
	dir, trustDomain, entries string
	check                     bool
}

func (o caOptions) serve(ctx context.Context, out io.Writer) error {
	if o.dir == "" || o.trustDomain == "" || o.entries == "" {
		return errors.New("ca serve: --dir, --trust-domain and --entries are required")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	td, err := spiffeid.TrustDomainFromString(o.trustDomain)
	if err != nil {
		return fmt.Errorf("--trust-domain %q: %w", o.trustDomain, err)
	}
	entries, err := entriesOf(o.entries, dir)
	if err != nil {
		return err
	}
	config := dev.CAConfig{TrustDomain: td, Dir: dir}
	if o.check {
		config.Dir = "" // --check writes nothing
	}
	ca, err := dev.NewCA(config)
	if err != nil {
		return err
	}
	api, err := dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: ca, Entries: entries})
	if err != nil || o.check {
		return err
	}
	if err := api.Listen(); err != nil {
		return err
	}
	for _, e := range entries {
		fmt.Fprintln(out, e.ID, dev.Address(e.Socket))
	}
	fmt.Fprintln(out, "bundle", dev.BundlePath(dir))
	fmt.Fprintln(out, "ready")
	return api.Serve(ctx)
}

// idpOptions are the flags of idp serve.
type idpOptions struct {
	addr, users string
	check       bool
}

func (o idpOptions) serve(ctx context.Context, out io.Writer) error {
	if o.users == "" {
		return errors.New("idp serve: --users is required")
	}
	users, clients, err := peopleOf(o.users)
	if err != nil {
		return err
	}
	idp, err := dev.NewIdP(dev.IdPConfig{Addr: o.addr, Users: users, Clients: clients})
	if err != nil || o.check {
		return err
	}
	if err := idp.Listen(); err != nil {
		return err
	}
	fmt.Fprintln(out, "issuer", idp.Issuer())
	fmt.Fprintln(out, "ready")
	return idp.Serve(ctx)
}
