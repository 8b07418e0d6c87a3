// Package fault kills, stops, blocks and turns back parts of Mayfly while it
// works, and holds what reached the upstreams against the record. Its tests are
// named after the promises of design §1 and the sections of contracts they defend.
//
// The processes are the built ones, with a real Envoy; where a clock or a disk
// must be bent, the packages are joined in process instead. Without an Envoy the
// tests print SKIP and why; with REQUIRE_ALL=1 that is a failure. MAYFLY_LONG=1
// makes them ten times as long.
package fault
