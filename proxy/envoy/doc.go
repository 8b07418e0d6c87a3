// Package envoy owns one running Envoy beside the sidecar: finding a binary that
// is new enough (Find), its bootstrap (Bootstrap), its process (Supervisor), the
// sockets that only it may use (Listen), and its secrets (SDS).
//
// It does not own what Envoy is told once it runs: listeners, routes and clusters
// come from mayflyd (package xds), and decisions from proxy. Names that both sides
// must agree on are in names.go; test/integration holds them equal to those of xds.
package envoy
