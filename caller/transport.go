package caller

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/spiffe"
)

const (
	dialTime = 5 * time.Second  // to reach the gateway, and again for TLS
	pingTime = 15 * time.Second // a connection that is silent that long is asked whether it lives
)

// transportTo carries requests to one gateway, whatever host they name.
func transportTo(gateway string, config *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: dialTime, ForceAttemptHTTP2: true,
		DisableCompression:  true, // bodies pass as they are
		MaxIdleConnsPerHost: 32, IdleConnTimeout: idleTime,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, gateway)
		},
	}
}

// explain says of a failure on the way to a gateway what can be done about it.
func explain(gateway string, err error) error {
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	text, next := "", ""
	switch {
	case errors.As(err, &cert):
		text, next = "the certificate of "+gateway+" is not trusted", "check the gateway's address, and --ca or MAYFLY_CA"
	case spiffe.ReasonOf(err) != "":
		text, next = "who answers at "+gateway+" is not the gateway that was named", "check the gateway's address and SPIFFE ID"
	case errors.As(err, &op) && op.Op == "dial":
		text, next = "the gateway at "+gateway+" cannot be reached", "check the gateway's address, and that it runs"
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert: RFC 8446 §6
		text, next = "the gateway at "+gateway+" refused the connection", "check that it takes the workload's trust domain, and serves the app's host"
	default: // with HTTP/2 an alert is often only seen as a connection that ended
		text, next = "the gateway at "+gateway+" ended the connection", "try again; if it lasts, check that it takes the workload's trust domain"
	}
	d := grant.Deny(grant.UpstreamUnavailable, "%s", text)
	d.Next = next
	return d.Because(err)
}
