package cli

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// Passage is what mayfly exec wants between a program and a gateway: a way in on
// this machine's loopback, for one run: of a workload, which has a Source, or of a
// person, who has a Token.
type Passage struct {
	Kind    string // of the app: how its programs show a key
	Host    string // of the app
	Port    uint16 // on this machine; 0: one that is free
	Gateway string // host:port of the gateway's listener for workloads, or for clients

	Source   *spiffe.Source // the workload's SVID, kept new
	Gateways []spiffeid.ID  // who the gateway may be

	// Token asks the token service for a token for the grant, bound to the key of Prove.
	Token func(context.Context) (text string, ends time.Time, err error)
	Prove func(method, url, token, nonce string, now time.Time) (string, error)
	Roots *x509.CertPool // of the host's certificate; nil: the system's

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
