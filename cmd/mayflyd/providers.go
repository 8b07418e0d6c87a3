package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/server"
)

// providers are the identity providers that people log in with.
type providers []*oidc.RP

var _ access.Identities = providers(nil)

func newProviders(c config, dev bool) (providers, error) {
	var out providers
	for _, p := range c.OIDC {
		rp, err := p.provider(c, dev)
		if err != nil {
			return nil, err
		}
		out = append(out, rp)
	}
	return out, nil
}

// names are the sources of groups.
func (p providers) names() []string {
	var out []string
	for _, rp := range p {
		out = append(out, rp.Name())
	}
	return out
}

// doors are what the server logs people in with.
func (p providers) doors() []server.Provider {
	var out []server.Provider
	for _, rp := range p {
		out = append(out, rp)
	}
	return out
}

// Refresh asks the provider again about a person (access.Identities).
func (p providers) Refresh(ctx context.Context, idp string, refresh []byte) (access.Login, error) {
	for _, rp := range p {
		if rp.Name() != idp {
			continue
		}
		f, err := rp.Refresh(ctx, oidc.NewSecret(string(refresh)))
		if errors.Is(err, oidc.ErrRefused) {
			return access.Login{}, fmt.Errorf("%w: %w", access.ErrIdentityRefused, err)
		}
		if err != nil {
			return access.Login{}, err
		}
		login := access.Login{
			Principal: f.Principal, Name: f.Name, Email: f.Email, Groups: f.Groups, ACR: f.ACR, AuthTime: f.AuthTime, Provider: f.SID,
		}
		if token := f.Refresh.Reveal(); token != "" {
			login.Refresh = []byte(token)
		}
		return login, nil
	}
	return access.Login{}, fmt.Errorf("%w: no provider is called %s any more", access.ErrIdentityRefused, idp)
}
