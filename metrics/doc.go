// Package metrics is what is told to those who watch Mayfly's processes: how long
// revokes take, how old the lease of a gateway is. Names are mayfly_*, with their
// unit in the name (contracts §8). No metric carries the name of a principal, a
// grant or a request.
//
// A nil *Registry and a nil *Revocations take everything and tell nobody. All of it
// is safe for concurrent use.
package metrics
