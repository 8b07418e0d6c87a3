// Package test holds the tests that look at the whole house: which package may
// import which, and that every package says what it owns. The folders below it
// run the product: dev (development CA and identity provider), env (everything
// started in one call), integration, fault.
package test
