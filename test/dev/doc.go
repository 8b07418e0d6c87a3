// Package dev owns what stands in for a company's own services during
// development and tests: a certificate authority with a real SPIFFE Workload API,
// and a small OpenID provider. Both are also good at failing: the CA mints every
// certificate that a peer must refuse, keys rotate and the provider goes down on
// demand.
//
// Only cmd/mayfly-dev and tests import it. Nothing here protects anything: the
// provider asks for no password, and the Workload API believes the socket.
package dev
