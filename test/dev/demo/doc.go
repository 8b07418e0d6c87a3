// Package demo is the story of make demo: one workload's access to Stripe, from
// being refused to the verified record, on the real product. Each step says what
// it expects and fails on any surprise.
package demo
