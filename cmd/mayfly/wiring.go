package main

import (
	"fmt"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/scope"
)

// kinds lists the kinds of app that this binary knows.
func kinds() (map[string]app.Kind, error) {
	s, err := stripe.New()
	if err != nil {
		return nil, fmt.Errorf("kind stripe: %w", err)
	}
	w, err := web.New()
	if err != nil {
		return nil, fmt.Errorf("kind web: %w", err)
	}
	return map[string]app.Kind{s.Name(): s, w.Name(): w}, nil
}

// policyOptions are what policy check and policy test load with. Which sources of
// groups there are is mayflyd's configuration, and which upstreams a development
// server takes is too: neither is checked here.
func policyOptions() (policy.Options, error) {
	known, err := kinds()
	if err != nil {
		return policy.Options{}, err
	}
	return policy.Options{
		Catalogue: func(kind string) (*scope.Catalogue, bool) {
			k, ok := known[kind]
			if !ok {
				return nil, false
			}
			return k.Catalogue(), true
		},
		Credentialed: func(kind string) bool {
			_, ok := known[kind].(app.Credentialed)
			return ok
		},
		ApproverKey: proof.KeyName,
		Dev:         true,
	}, nil
}
