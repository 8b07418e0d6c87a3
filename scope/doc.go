// Package scope owns what a request would do and what may be done: Operation
// with typed Values, the Catalogue that says which operations an app has, the
// Patterns that name several at once, and the Scope of a grant with its
// Constraints.
//
// It is pure: no clock, store or network. It does not know who asks or until
// when; that is grant's. It does not read requests either: app kinds turn an
// HTTP request into an Operation.
package scope
