// Package xds owns what an Envoy of Mayfly is told: the listeners, routes and
// clusters of one node (Build), the lint that refuses any of them that would let
// a request reach an app without ext_authz (Lint), the ADS server that gives each
// node its own snapshot and nobody else's (Server), and how far each node has
// come with it (Status).
//
// It does not own Envoy's bootstrap, its process or its secrets: those are the
// sidecar's (proxy/envoy). It does not decide requests, does not know grants, and
// never sees a credential. Names that both sides must agree on (sockets, secrets,
// clusters) are in names.go; test/integration holds them equal.
package xds
