//go:build !race

package tokens

// raceEnabled: see the other file.
const raceEnabled = false
