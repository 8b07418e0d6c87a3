// Command load measures what the design promises in milliseconds and bytes: how
// soon a change reaches the last of many instances, how soon a revoke stops the
// last request, what a grant costs in memory. It is a program, so that a figure can
// be made again by whoever doubts it:
//
//	go run ./test/load -scenario feed -nodes 1000
//
// Progress goes to stderr; the last thing on stdout is one JSON object. A bound that
// is missed ends it with status 1, unless -report asks for the figures alone.
//
// mayflyd is the built binary, over real mTLS. The instances run in one other
// process (this program, started again), each with the feed's own client, table,
// lease and clock. Load is an open loop: what is late does not make what follows it
// late, and latency counts from when something was meant to begin.
package main
