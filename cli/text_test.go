package cli

import "testing"

// Numbers are told in English.
func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 gateway":  count(1, "gateway"),
		"2 gateways": count(2, "gateway"),
		"0 keys":     count(0, "key"),
		"2 apps":     count(2, "app"),
		"3 policies": count(3, "policy"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
