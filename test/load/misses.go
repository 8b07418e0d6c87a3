package main

import "fmt"

// misses are the bounds that a result is not within, each in words.
type misses []string

// above notes that name is above its bound, if it is.
func (m *misses) above(name string, got, bound float64) {
	if got > bound {
		*m = append(*m, fmt.Sprintf("%s %.1f > %.0f", name, got, bound))
	}
}
