// Package guard holds the streams of direct apps and ends them when their access
// ends: at the grant's end, on a revoke, when a session ends, when the lease runs out.
//
// It is Envoy's external processor, and changes nothing in a request. Envoy opens one
// gRPC stream to it for each request to a guarded app, and keeps it for as long as the
// request lasts, because an answer's trailers would still be shown to it. The request
// goes on after the guard's last look, and is cut by the guard's own answer. If the
// guard cannot be asked, or its gRPC stream breaks, Envoy cuts the request: only one
// that ends in good order would leave the request without a guard, and none does.
package guard
