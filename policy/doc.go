// Package policy owns the policy set: reading it strictly from YAML files,
// checking it whole before it may be in force, and deciding over it. It owns
// Entitlement, App as policy sees it, the CEL conditions, and the inline tests.
//
// Load turns files into a Set or into every error that they hold, with file,
// line and column. A Set is immutable and safe for concurrent use; Expand and
// Decide are pure functions of it and their input, so that a decision can be
// made again from what was stored (P8).
//
// It does not fetch or verify commits: that is policy/git. It does not store
// requests, count approvals or refuse self-approval: that is access, which asks
// MayApprove and SamePerson. It knows no kind of app: their catalogues are
// handed in.
package policy
