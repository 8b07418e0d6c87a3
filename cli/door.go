package cli

import (
	"context"

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
	link, err := a.link(ctx)
	if err != nil {
		return Passage{}, api.Reach{}, err
	}
	reach, err := a.liveReach(ctx, link.client, name)
	if err != nil {
		return Passage{}, api.Reach{}, err
	}
	if gateway == "" {
		gateway = a.c.Getenv("MAYFLY_GATEWAY")
	}
	out, err := a.passage(link, reach, gateway)
	return out, reach, err
}
