// Package env starts the whole product in one call: the built binaries, a real
// Envoy, a real database, the development CA and identity provider, stripe-mock,
// and a recorder before every upstream. Tests and the demo stand on it.
//
// It holds no expectation of its own; and it is no part of the product.
package env
