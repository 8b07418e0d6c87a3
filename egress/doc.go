// Package egress owns the way out to addresses that others name: an identity
// provider, a bundle endpoint. What is there gets no proxy and no redirect followed,
// nothing inside unless an operator lists it, and its answer is bounded in size and
// time. It knows nothing of what is asked.
package egress
