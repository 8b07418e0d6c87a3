package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/xds"
)

// kinds are the sorts of app that this binary knows, by name.
type kinds map[string]app.Kind

func newKinds() (kinds, error) {
	stripeKind, err := stripe.New()
	if err != nil {
		return nil, err
	}
	webKind, err := web.New()
	if err != nil {
		return nil, err
	}
	return kinds{stripeKind.Name(): stripeKind, webKind.Name(): webKind}, nil
}

func (k kinds) catalogue(name string) (*scope.Catalogue, bool) {
	kind, ok := k[name]
	if !ok {
		return nil, false
	}
	return kind.Catalogue(), true
}

func (k kinds) credentialed(name string) bool {
	_, ok := k[name].(app.Credentialed)
	return ok
}

// envoyApps tells xds which apps the node under this pair of SPIFFE IDs fronts.
func (k kinds) envoyApps(service *access.Service) func(context.Context, identity.Principal, identity.Principal) ([]xds.App, error) {
	return func(ctx context.Context, listener, sidecar identity.Principal) ([]xds.App, error) {
		set, err := service.Policy(ctx)
		if err != nil {
			return nil, err
		}
		node, ok := set.NodeOf(sidecar)
		if !ok || node.Listener != listener {
			return nil, fmt.Errorf("policy lists no node with sidecar %s and listener %s", sidecar, listener)
		}
		var out []xds.App
		for _, name := range node.Apps {
			a, ok := set.App(name)
			if !ok {
				return nil, errors.New("node with an app that policy does not have: " + name)
			}
			out = append(out, k.envoyApp(a))
		}
		return out, nil
	}
}

func (k kinds) envoyApp(a policy.App) xds.App {
	out := xds.App{
		Name: a.Name, Kind: a.Kind, Hosts: a.Hosts, Hop: k.credentialed(a.Kind),
		BodyMethods: app.BodyMethods(k[a.Kind]), MaxStream: a.MaxStream, Guard: a.Guard, HTTP2: a.HTTP2,
		Services: slices.Contains(a.Callers, policy.CallersServices), People: a.TakesPeople(),
		Clients: slices.Contains(a.Callers, policy.CallersClients),
	}
	for _, h := range a.Identity {
		out.IdentityHeaders = append(out.IdentityHeaders, h.Header)
	}
	if !out.Hop {
		out.Upstream = a.Upstream
	}
	return out
}

// catalogues are those of all kinds, by name.
func (k kinds) catalogues() map[string]*scope.Catalogue {
	out := map[string]*scope.Catalogue{}
	for name, kind := range k {
		out[name] = kind.Catalogue()
	}
	return out
}
