package api_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
)

// The login of any other program shows another code, whatever it takes over of ours.
func TestLoginCodeIsOfOneRequest(t *testing.T) {
	a, b := strings.Repeat("a", 43), strings.Repeat("b", 43)
	ours := api.LoginCode("state", a, b)
	if !regexp.MustCompile(`^[A-Z2-7]{5}-[A-Z2-7]{5}$`).MatchString(ours) || ours != api.LoginCode("state", a, b) {
		t.Fatalf("the code is %q", ours)
	}
	for name, other := range map[string]string{
		"another state":     api.LoginCode("other", a, b),
		"another challenge": api.LoginCode("state", b, b),
		"another key":       api.LoginCode("state", a, a),
		"no key":            api.LoginCode("state", a, ""),
		"the key as state":  api.LoginCode(b+".state", a, ""),
		"challenge and key": api.LoginCode("state", b, a),
	} {
		if other == ours {
			t.Errorf("%s shows the same code", name)
		}
	}
}
