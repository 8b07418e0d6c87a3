// Package integration runs parts of Mayfly against each other and against a real
// Envoy. It owns no helper that a product binary may link, and no rule of its own.
//
// Without an Envoy its tests print SKIP and why; with REQUIRE_ALL=1 that is a
// failure.
package integration
