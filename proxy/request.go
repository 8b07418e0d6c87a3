package proxy

import (
	"crypto/sha256"
	"net"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// Request is one request as Envoy describes it to ext_authz, read once and
// strictly. Nobody changes it after readRequest.
type Request struct {
	SNI         string
	Certificate string // the peer's chain, URL-encoded PEM; empty: it sent none
	Door        string // of the route's metadata; any other word than a door's is none
	App         string // likewise; empty: no route of an app
	Hop         bool   // the route leads to the hop
	Guard       bool   // the route has ext_proc hold the stream
	HTTP        app.Request
	GRPC        bool // wants a gRPC answer
}

// PathHash is the SHA-256 of path and query as Envoy forwards them.
func (r *Request) PathHash() [32]byte { return sha256.Sum256([]byte(r.HTTP.Path)) }

// BodyHash is the SHA-256 of the body that was decided on, and false if none was read.
func (r *Request) BodyHash() ([32]byte, bool) {
	return sha256.Sum256(r.HTTP.Body), r.HTTP.Body != nil
}

// routeNamespace is the metadata namespace that the routes carry; xds writes it.
const routeNamespace = "mayfly"

// readRequest takes what Check needs out of Envoy's message. What cannot be read
// in one way only is a denial.
func readRequest(m *authv3.CheckRequest) (*Request, *grant.Denial) {
	attrs := m.GetAttributes()
	h := attrs.GetRequest().GetHttp()
	r := &Request{
		SNI:         attrs.GetTlsSession().GetSni(),
		Certificate: attrs.GetSource().GetCertificate(),
		HTTP: app.Request{
			Method: h.GetMethod(), Authority: h.GetHost(), Path: h.GetPath(),
			Header: http.Header{}, Body: body(h),
		},
	}
	route := attrs.GetRouteMetadataContext().GetFilterMetadata()[routeNamespace].GetFields()
	r.Door, r.App, r.Hop = route["door"].GetStringValue(), route["app"].GetStringValue(), route["hop"].GetBoolValue()
	r.Guard, r.HTTP.App = route["guard"].GetBoolValue(), r.App
	if d := readHeaders(r, h.GetHeaderMap()); d != nil {
		return r, d
	}
	r.GRPC = isGRPC(r.HTTP.Header)
	if r.HTTP.Method == "" || r.HTTP.Path == "" || r.HTTP.Authority == "" {
		return r, grant.Deny(grant.Malformed, "a request has a method, a path and a host")
	}
	return r, nil
}

// body returns the buffered body; with pack_as_bytes it is in raw_body. A request
// whose body was not buffered has none.
func body(h *authv3.AttributeContext_HttpRequest) []byte {
	if b := h.GetRawBody(); len(b) > 0 {
		return b
	}
	if s := h.GetBody(); s != "" {
		return []byte(s)
	}
	return nil
}

// singles are the headers of which a second value would be read by somebody.
func singles() [9]string {
	return [9]string{"Authorization", "Dpop", "Host", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Upgrade", partialBody}
}

// partialBody is how Envoy marks a body that it did not buffer whole.
const partialBody = "X-Envoy-Auth-Partial-Body"

// readHeaders copies the headers, in order and with all their values, and
// refuses those that two parsers could read differently: a second Authorization
// or Host, a Connection that nominates other headers. Envoy joins some repeated
// headers with commas; then the joined text is what is decided on and forwarded.
func readHeaders(r *Request, m *corev3.HeaderMap) *grant.Denial {
	if len(m.GetHeaders()) == 0 {
		return grant.Deny(grant.Malformed, "the request came without its headers as they were sent")
	}
	told := map[string]string{":method": r.HTTP.Method, ":authority": r.HTTP.Authority, ":path": r.HTTP.Path}
	for _, h := range m.GetHeaders() {
		name, value := h.GetKey(), h.GetValue()
		if raw := h.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		if !strings.HasPrefix(name, ":") {
			r.HTTP.Header.Add(name, value)
		} else if want, ok := told[strings.ToLower(name)]; ok && value != want {
			return grant.Deny(grant.ConflictingHeaders, "the header %s is not what the request line says", name)
		}
	}
	for _, single := range singles() {
		if len(r.HTTP.Header.Values(single)) > 1 {
			return grant.Deny(grant.ConflictingHeaders, "the header %s is there more than once", single)
		}
	}
	if host := r.HTTP.Header.Get("Host"); host != "" && host != r.HTTP.Authority {
		return grant.Deny(grant.ConflictingHeaders, "the header Host is not the request's host")
	}
	if r.HTTP.Header.Get(partialBody) == "true" {
		return grant.Deny(grant.BodyTooLarge, "the body is larger than a decision is made on")
	}
	return checkConnection(r.HTTP.Header)
}

// checkConnection refuses a Connection header that names other headers: a hop
// behind us would drop them, ours among them.
func checkConnection(h http.Header) *grant.Denial {
	for _, v := range h.Values("Connection") {
		for option := range strings.SplitSeq(v, ",") {
			switch strings.ToLower(strings.TrimSpace(option)) {
			case "", "close", "keep-alive", "upgrade", "te":
			default:
				return grant.Deny(grant.ConflictingHeaders, "the header Connection may not name other headers")
			}
		}
	}
	return nil
}

// sameHost reports whether the TLS server name is the request's host. Routes are
// shared by all names of a listener: without this check the certificate check of
// one host would open another.
func sameHost(sni, authority string) bool {
	return sni != "" && strings.EqualFold(sni, hostOf(authority))
}

// hostOf returns an authority's host without its port, lower case.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return strings.ToLower(host)
	}
	return strings.ToLower(authority)
}

func isGRPC(h http.Header) bool {
	ct, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return ct == "application/grpc" || strings.HasPrefix(ct, "application/grpc+")
}
