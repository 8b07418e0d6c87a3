package main

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/cli"
	"github.com/mayflyproxy/mayfly/grant"
)

// openLoopback joins mayfly exec and mayfly proxy to the caller.
func openLoopback(p cli.Passage) (cli.Loopback, error) {
	form := caller.FormOf(p.Kind)
	key := caller.NewSecret(form.KeyPrefix)
	door, err := doorOf(p)
	if err != nil {
		return nil, err
	}
	refuse, err := refusalsOf(p.Kind)
	if err != nil {
		return nil, err
	}
	l, err := caller.Open(caller.Config{
		Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Port),
		Host:    p.Host, Form: form, Secret: key, Door: door, Refuse: refuse, Told: p.Told,
	})
	if err != nil {
		return nil, err
	}
	return &loopback{listener: l, environment: form.Environment(l.URL(), key), close: door.Close}, nil
}

// door is a way to a gateway.
type door interface {
	http.RoundTripper
	Close()
}

// openDoor joins mayfly call to the caller.
func openDoor(p cli.Passage) (http.RoundTripper, error) { return doorOf(p) }

// doorOf returns the way of whoever speaks: a workload's, by its SVID, or a person's,
// by a token and the session's key.
func doorOf(p cli.Passage) (door, error) {
	if p.Source != nil {
		return caller.NewServices(caller.ServicesConfig{Gateway: p.Gateway, Host: p.Host, IDs: p.Gateways, Source: p.Source})
	}
	return caller.NewClients(caller.ClientsConfig{Gateway: p.Gateway, Host: p.Host, Roots: p.Roots, Token: p.Token, Prove: p.Prove})
}

// refusalsOf returns how apps of a kind say no; nil is the common form.
func refusalsOf(kind string) (func(*grant.Denial) app.Response, error) {
	known, err := kinds()
	if err != nil {
		return nil, err
	}
	if k, ok := known[kind]; ok {
		return k.Refuse, nil
	}
	return nil, nil
}

// loopback is one way in, for one program.
type loopback struct {
	listener    *caller.Listener
	environment []string
	close       func()
}

func (l *loopback) Environment() []string { return l.environment }

func (l *loopback) Run(ctx context.Context) error {
	defer l.close()
	return l.listener.Run(ctx)
}
