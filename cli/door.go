package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mayflyproxy/mayfly/api"
)

// destination is an app and how it is come to.
type destination struct {
	app         string
	entitlement string // "": under the grant that ends last
	gateway     string // "": $MAYFLY_GATEWAY, else port 443 of the app's host
}

func (d *destination) flags(f *pflag.FlagSet) {
	f.StringVarP(&d.entitlement, "entitlement", "e", "", "under your access by this one; left out: by the one that ends last")
	f.StringVar(&d.gateway, "gateway", "", "host:port of a gateway's door for clients ($MAYFLY_GATEWAY); left out: port 443 of the app's host")
}

// liveGrants lists one's own live grants that lead there, the one that ends last first.
func (a *app) liveGrants(ctx context.Context, client *api.Client, to destination) ([]api.Grant, error) {
	all, err := pages(func(cursor string) (api.Page[api.Grant], error) {
		return client.Grants(ctx, api.GrantsQuery{App: to.app, Entitlement: to.entitlement, Cursor: cursor})
	})
	if err != nil {
		return nil, err
	}
	live := slices.DeleteFunc(all, func(g api.Grant) bool { return g.State != "active" })
	slices.SortStableFunc(live, func(x, y api.Grant) int { return strings.Compare(y.NotAfter, x.NotAfter) }) // as texts: they are of one form
	switch {
	case len(live) > 0:
		return live, nil
	case to.entitlement != "":
		a.note("mayfly: you have no access to %s by %s now", to.app, to.entitlement)
		a.hint("mayfly grants shows what you have; mayfly request " + to.entitlement)
	default:
		a.note("mayfly: you have no access to %s now", to.app)
		a.hint("mayfly entitlements, then mayfly request")
	}
	return nil, exit{exitDenied}
}

// toApp is the way of whoever logged in to an app that they have access to: with a token
// for their grant and a proof of their session's key for each request (RFC 9449). Of the
// grants that would do it uses the first.
func (a *app) toApp(ctx context.Context, to destination) (Passage, []api.Grant, error) {
	if a.asWorkload() {
		return Passage{}, nil, usage{"a workload speaks to gateways with its SVID", "mayfly exec --svid"}
	}
	if to.gateway == "" {
		to.gateway = a.c.Getenv("MAYFLY_GATEWAY")
	}
	if err := checkGateway(to.gateway); err != nil {
		return Passage{}, nil, err
	}
	link, err := a.link(ctx)
	if err != nil {
		return Passage{}, nil, err
	}
	grants, err := a.liveGrants(ctx, link.client, to)
	if err != nil {
		return Passage{}, nil, err
	}
	reach, err := link.client.Reach(ctx, grants[0].ID)
	if err != nil {
		return Passage{}, nil, err
	}
	if err := link.mayEnter(reach.App, reach.Callers); err != nil {
		return Passage{}, nil, err
	}
	out, err := a.passage(link, reach, to.gateway)
	return out, grants, err
}

// hintOther names the access that command did not use, if there is any.
func (a *app) hintOther(command string, grants []api.Grant) {
	for _, g := range grants[1:] {
		if g.Entitlement != grants[0].Entitlement {
			a.hint(fmt.Sprintf("this went under %s; you hold %s, too: %s --entitlement %s", grants[0].Entitlement, g.Entitlement, command, g.Entitlement))
			return
		}
	}
}

// checkGateway refuses what is no host:port; empty is left to the app's host.
func checkGateway(gateway string) error {
	if gateway == "" {
		return nil
	}
	if host, port, err := net.SplitHostPort(gateway); err != nil || host == "" || port == "" {
		return usage{fmt.Sprintf("--gateway %q is not host:port", gateway), "--gateway gateway.acme.example:8443"}
	}
	return nil
}
