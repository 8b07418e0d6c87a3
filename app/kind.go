package app

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// Needs says what a Kind must see of a request to name its operation. The zero
// value asks for the whole body, the strictest.
type Needs uint8

// What a kind may need.
const (
	NeedsBody    Needs = iota // the whole body, at most MaxBody, never partial
	NeedsHeaders              // method, authority, path and headers are enough
)

// MaxBody is the largest body, in bytes, that a decision is made on. Envoy
// refuses larger ones with 413 before the decision is asked for.
const MaxBody = 1 << 20

// Request is what a Kind classifies: exactly the bytes that Envoy will forward.
// Nobody changes it after it is made.
type Request struct {
	App       string // the app's name in policy
	Method    string
	Authority string      // host, and port if the caller sent one
	Path      string      // as forwarded, with the query
	Header    http.Header // canonical keys; all values, in order
	Body      []byte      // nil unless Needs said NeedsBody
}

// A Kind teaches Mayfly one sort of protected app. Its methods are pure and safe
// for concurrent use.
type Kind interface {
	// Name is the word under kind: in policy, such as stripe.
	Name() string
	// Catalogue is the closed list of the kind's operations.
	Catalogue() *scope.Catalogue
	// Needs says what Classify must see of a request with this method.
	Needs(method string) Needs
	// Classify names what r would do. A request that it does not know, or that
	// could be read in two ways, is a *grant.Denial, never a guess.
	Classify(r *Request) (scope.Operation, error)
	// Refuse writes a denial as the provider's own clients understand it.
	Refuse(d *grant.Denial) Response
}

// Response is an answer made by us instead of by the app.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Credentialed is a Kind whose apps are reached with a credential, through the
// hop. Direct apps do not implement it.
type Credentialed interface {
	Kind
	// Authorize removes whatever the caller put in the place of a credential
	// (headers that may carry one) and sets secret there. It is called last,
	// just before the request leaves.
	Authorize(r *http.Request, secret []byte)
}

// BodyMethods returns the methods, of those of RFC 9110 §9 and PATCH, for which k
// needs the whole body: Envoy must give it to the decision.
func BodyMethods(k Kind) []string {
	var out []string
	for _, m := range [...]string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"} {
		if k.Needs(m) == NeedsBody {
			out = append(out, m)
		}
	}
	return out
}
