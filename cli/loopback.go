package cli

import (
	"context"
	"net/http"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// Passage is what mayfly exec wants between a program and a gateway: a way in on
// this machine's loopback, for one run. One of Source and Door is set.
type Passage struct {
	Kind     string            // of the app: how its programs show a key
	Host     string            // of the app
	Port     uint16            // on this machine; 0: one that is free
	Gateway  string            // host:port of the gateway's listener for workloads
	Gateways []spiffeid.ID     // who it may be
	Source   *spiffe.Source    // the workload's SVID, kept new
	Door     http.RoundTripper // what proves a person to the gateway
	// Told hears the gateway's reason for each call that it refused.
	Told func(grant.Reason)
}

// Loopback is a Passage that is open.
type Loopback interface {
	// Environment returns name=value for all that a program needs to find its way in.
	Environment() []string
	// Run lets programs in until ctx ends.
	Run(ctx context.Context) error
}
