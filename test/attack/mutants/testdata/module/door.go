// Package door has two defences, of which its tests see one.
package door

// Open reports whether the door opens.
func Open(key string, locked bool) bool {
	if locked {
		return false
	}
	if len(key) > 8 {
		return false
	}
	return key == "key"
}
