package console_test

import (
	"strings"
	"testing"
)

// Nobody who works here overlooks that an app is not enforced: every page says so, and
// whoever is not logged in learns no name.
func TestEveryPageSaysWhichAppsAreObserved(t *testing.T) {
	w := newWorld(t)
	dave, pages := w.everyPage()
	if page := dave.get("/"); strings.Contains(page, "Observe mode") {
		t.Fatal("nothing is observed yet")
	}
	w.apply("2", map[string]string{
		"spiffe://acme.example/gw/sidecar": "spiffe://acme.example/staging/gw/sidecar", "environment: prod": "environment: staging", "kind: web": "kind: web\nmode: observe",
	})
	for _, path := range pages {
		page := dave.do("GET", path, "").Body.String()
		if !strings.Contains(page, "Observe mode:</strong> nobody is denied on <bdi>reports</bdi>, and no end is set") {
			t.Errorf("%s does not name the app", path)
		}
	}
	page := browser{world: w}.do("GET", "/nothing", "").Body.String()
	if !strings.Contains(page, "there are apps on which nobody is denied") || strings.Contains(page, "reports") {
		t.Errorf("to nobody it says %s", page)
	}
}
