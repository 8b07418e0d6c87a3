// Package fault kills, stops, cuts off, blocks and turns back parts of Mayfly while it
// works, and holds what reached the upstreams against the record. Its tests are
// named after the promises of design §1 and the sections of contracts they defend.
//
// TestP5_Faults is the driver: one product under traffic goes through a table of
// faults in an order that MAYFLY_FAULT_SEED repeats, and after each one the record is
// verified and held against what arrived. It prints what it counted. Disks to be
// filled are mounted, which takes root, and syncs are made slow or fail by strace.
//
// The processes are the built ones, with a real Envoy; where a clock or a disk
// must be bent, the packages are joined in process instead. Without an Envoy the
// tests print SKIP and why, and so does a fault that the machine does not allow; with
// REQUIRE_ALL=1 that is a failure. With MAYFLY_LONG=1 the driver goes on for ten minutes,
// each round with a new product, and others are stopped for longer.
package fault
