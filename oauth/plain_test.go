package oauth

import "testing"

func TestDescriptionsAreOfTheirCharacters(t *testing.T) {
	const text = "a \"name\" \\ of Z\u00fcrich\u2026\n\x7f"
	if got := plain(text); got != "a 'name' ? of Z?rich...??" {
		t.Errorf("%q", got)
	}
}
