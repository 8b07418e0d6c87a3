//go:build race

package tokens

// raceEnabled: the detector slows code down unevenly, so that figures say nothing.
const raceEnabled = true
