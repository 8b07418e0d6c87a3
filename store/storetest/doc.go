// Package storetest owns what every access.Store must do, as one conformance
// suite (Run, and RunClock for a store that takes its clocks from outside), and
// Faulty, a store whose calls fail or block on demand.
//
// It does not own a store: each adapter under store/ runs the suite in its own
// tests, and tests of other packages wrap the store that they use.
package storetest
