package env

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// Publish makes the partner's bundle endpoint tell its bundle of now.
func (e *Env) Publish(sequence uint64) error {
	body, err := e.Partner.BundleDocument(sequence, time.Second)
	if err != nil {
		return err
	}
	e.Endpoint.Tell(http.StatusOK, body)
	return nil
}

// startEndpoint serves the partner's bundle, proven by an SVID of the partner.
func (e *Env) startEndpoint() error {
	id, err := e.Partner.ID("/bundles")
	if err != nil {
		return err
	}
	e.Endpoint = &dev.BundleEndpoint{}
	if err := e.Publish(1); err != nil {
		return err
	}
	bootstrap, err := e.Partner.BundleDocument(1, 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.path("partner.json"), bootstrap, 0o600); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: e.Endpoint, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(tls.NewListener(l, e.Partner.EndpointTLS(id))) }()
	e.atClose(func() { _ = s.Close(); <-done })
	e.federation = fmt.Sprintf("federation: [{trust_domain: %s, url: %q, profile: https_spiffe, endpoint_id: %q, bootstrap: %q}]\n",
		PartnerDomain, "https://"+l.Addr().String()+"/bundle", id, e.path("partner.json"))
	return nil
}

// partnerInPolicy is the line of the partner's trust domain.
func (e *Env) partnerInPolicy() string {
	if !e.Federate {
		return ""
	}
	return "  - {name: " + PartnerDomain + ", environments: [prod]}\n"
}
