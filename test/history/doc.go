// Package history drives what mayflyd and the sidecars decide with through random
// histories, and holds it to a model of a few lines after every step: the access
// service on SQLite, the feed's server and client, the lease, the clock and the
// grant table are the product's own.
//
// What is not the product's is what a machine room does to it. The network is
// scripted: it carries the messages of a stream as bytes, and cuts, holds, doubles
// or swaps them. Time is that of testing/synctest, so nothing sleeps and two clocks
// can be an hour apart. Two mayflyd share one SQLite file, which contracts §2 has
// only one of: each sees it through a view that can wait before a transaction, keep
// its lock, lose its answer, or read what was true a while ago. That is all that
// PostgreSQL adds to what an instance can see of two replicas.
//
// A history is a list of steps, drawn by rapid; a failing one is shrunk and printed.
package history
