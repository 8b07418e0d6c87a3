// Package feed owns what mayflyd tells the sidecars and what they tell back: the
// protobuf of mayfly.feed.v1 (contracts §2 and §3), the server with the Source
// that it reads from, and the client with the Sink that it fills.
//
// It carries segments, checkpoints and proofs as bytes, and takes the peer as a
// func: it knows nothing of policy, of the record, or of how an identity is
// proven. What a grant means is grant's; the table that holds them is proxy's.
//
// A browser session is a resource like a grant. Its removal is all that its end
// needs (P4): an instance that applied the removal, or whose lease ran out, lets
// the session do nothing more, and its Ack says so for every resource up to that
// revision. What Sessions.Lookup answers is good for one decision and holds
// nothing.
package feed
