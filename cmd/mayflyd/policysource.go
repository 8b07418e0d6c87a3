package main

import (
	"bytes"
	"fmt"

	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/server"
)

// policyRemote is from where policy is fetched, nil if others bring it.
func (d *daemon) policyRemote() (*git.Remote, error) {
	c := d.c.Policy
	if c.Remote == (remoteConfig{}) {
		return nil, nil
	}
	return git.OpenRemote(git.RemoteOptions{
		URL: c.Remote.URL, Branch: c.Branch, Dir: c.Repository, User: c.Remote.User, TokenFile: c.Remote.Token, CAFile: c.Remote.CA,
		KeyFile: c.Remote.Key, KnownHosts: c.Remote.KnownHosts,
	})
}

// policyHook is how a forge says that there is a new commit, nil if none may.
func (d *daemon) policyHook() (*server.PolicyHook, error) {
	if d.c.Policy.Webhook == "" {
		return nil, nil
	}
	secret, err := readPrivate(d.c.Policy.Webhook)
	if err != nil {
		return nil, fmt.Errorf("policy.webhook_secret: %w", err)
	}
	return &server.PolicyHook{Secret: bytes.TrimRight(secret, "\r\n"), Pushed: func() {
		select {
		case d.pushed <- struct{}{}:
		default:
		}
	}}, nil
}
