// Package access owns the verbs of a grant's life (Request, Approve, Deny,
// Withdraw, Revoke, Finish, Expire), the nouns that they move (Request, Offer,
// Approval, Instance, Session), their state machines, and the interfaces of the
// store that keeps them. Each verb is one transaction: the state, its leaves of
// the control log, what the feed tells, and the outbox change together or not at
// all.
//
// It does not decide who may: policy does, and access carries its decision out.
// It draws no pages and speaks no protocol: server, cli and channels call it. It
// turns a policy app and a grant into the feed's resources, and answers the
// feed as its Source.
package access
