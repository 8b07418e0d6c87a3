package browser

import "testing"

// TellTo returns the tab as one that fails t.
func TellTo(b *Tab, t testing.TB) *Tab {
	b.t = t
	return b
}
