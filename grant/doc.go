// Package grant owns the ids of everything that is created, the Grant with its
// pure rule Permits, and the Denial with the table of reasons that every edge
// turns into HTTP, gRPC, OAuth and provider shapes.
//
// It reads no clock, store or network. Which grants there are, and who may make
// one, is access's; which of them a sidecar holds is proxy's.
package grant
