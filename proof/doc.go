// Package proof checks grants that carry their own proof: approvals signed by the
// approvers' keys, over an Offer that a signed commit of policy allows, with the
// grant on the record. It is pure: what it trusts (the keys of who signs policy)
// and what it checks are handed to it, and it reads no clock, disk or network.
// Docs/proof.md says what is proven by it, against whom, and what is not.
//
// It owns the git objects of a commit (object.go), SSH signatures (sshsig.go),
// passkeys (passkey.go), the small part of policy that a sidecar reads for itself
// (files.go) and the one verdict, Policy.Check (claim.go). It does not know how
// any of these travel or are stored.
package proof
