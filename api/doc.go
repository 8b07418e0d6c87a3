// Package api owns the JSON of /api/v1: the types that the handlers write and
// the command line reads, and the Go client. Additive only: a reader ignores
// what it does not know, a writer never changes what a field means.
//
// It decides nothing and holds no state. The handlers are in server.
package api
