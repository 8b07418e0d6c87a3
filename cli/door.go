package cli

import (
	"context"
	"fmt"
	"net"

	"github.com/mayflyproxy/mayfly/api"
)

// liveReach finds one's own live grant on an app, the one that ends last, and says where
// it is used.
func (a *app) liveReach(ctx context.Context, client *api.Client, name string) (api.Reach, error) {
	all, err := pages(func(cursor string) (api.Page[api.Grant], error) {
		return client.Grants(ctx, api.GrantsQuery{App: name, Cursor: cursor})
	})
	if err != nil {
		return api.Reach{}, err
	}
	best := api.Grant{}
	for _, g := range all {
		if g.State == "active" && g.NotAfter > best.NotAfter { // as texts: they are of one form
			best = g
		}
	}
	if best.ID == "" {
		a.note("mayfly: you have no access to %s now", name)
		a.hint("mayfly entitlements, then mayfly request")
		return api.Reach{}, exit{exitDenied}
	}
	return client.Reach(ctx, best.ID)
}

// toApp is the way of whoever logged in to an app that they have access to: with a token
// for their grant and a proof of their session's key for each request (RFC 9449).
func (a *app) toApp(ctx context.Context, name, gateway string) (Passage, api.Reach, error) {
	if a.asWorkload() {
		return Passage{}, api.Reach{}, usage{"a workload speaks to gateways with its SVID", "mayfly exec --svid"}
	}
	if gateway == "" {
		gateway = a.c.Getenv("MAYFLY_GATEWAY")
	}
	if err := checkGateway(gateway); err != nil {
		return Passage{}, api.Reach{}, err
	}
	link, err := a.link(ctx)
	if err != nil {
		return Passage{}, api.Reach{}, err
	}
	reach, err := a.liveReach(ctx, link.client, name)
	if err != nil {
		return Passage{}, api.Reach{}, err
	}
	if err := link.mayEnter(reach.App, reach.Callers); err != nil {
		return Passage{}, api.Reach{}, err
	}
	out, err := a.passage(link, reach, gateway)
	return out, reach, err
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
