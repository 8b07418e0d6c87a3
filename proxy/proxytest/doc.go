// Package proxytest stands in for the feed and the record in tests of proxy and
// of the packages below it: a World is a real table, filled through its Sink with
// a clock that a test moves, and a Journal keeps what it was told in memory. It
// decides nothing.
package proxytest
