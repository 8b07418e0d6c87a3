package console_test

import (
	"strings"
	"testing"
	"time"
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

// An end weeks away is told with its day: a time alone would be taken for one of today.
func TestTheEndOfObserveModeHasItsDay(t *testing.T) {
	w := newWorld(t)
	until := w.clock().UTC().AddDate(0, 0, 20).Truncate(24 * time.Hour)
	w.apply("2", map[string]string{
		"kind: web":                       "kind: web\nmode: observe",
		"exceptions/observe-reports.yaml": "exception: observe-reports\nowner: team-data\nallows: observe\napp: reports\nuntil: " + until.Format(time.DateOnly) + "\nreason: The old way is still open.\n",
	})
	page := w.dave().get("/")
	_, rest, _ := strings.Cut(page, "nobody is denied on")
	said, _, _ := strings.Cut(rest, "</p>")
	if !strings.Contains(said, until.Format("2 Jan")) || !strings.Contains(said, "00:00 UTC") || !strings.Contains(said, `datetime="`+until.Format(time.RFC3339)+`"`) {
		t.Errorf("nobody is denied on%s", said)
	}
}
