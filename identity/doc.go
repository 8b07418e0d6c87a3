// Package identity owns the values that say who: a Principal (an account, a
// workload), a Person (one human behind one or more accounts) and a Group.
//
// It holds values and pure rules only. It does not prove anything: turning a
// certificate or a login into a Principal is the work of spiffe and
// identity/oidc, and which accounts are one person is said by policy.
package identity
