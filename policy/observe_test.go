package policy

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const watched = `exception: observe-reports
owner: team-migration
allows: observe
app: reports
until: 2027-01-31
reason: Its callers move from the old way to this one.
`

// watching is the example policy with the app reports in observe mode until the
// beginning of 31 January 2027.
func watching(more ...change) []change {
	return append([]change{{web, "kind: web", "kind: web\nmode: observe"}, {"exceptions/observe-reports.yaml", "", watched}}, more...)
}

func watchedUntil() time.Time { return time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC) }

func TestAnAppIsObservedUntilItsExceptionEnds(t *testing.T) {
	s, err := Load(edited(t, watching()...), options(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Observation{App: "reports", Owner: "team-migration", Until: watchedUntil(), Exception: "observe-reports"}
	if o, ok := s.Observed("reports"); !ok || o != want {
		t.Errorf("%+v", o)
	}
	if all := s.Observations(watchedUntil().Add(-time.Second)); len(all) != 1 || all[0] != want {
		t.Errorf("before the end: %+v", all)
	}
	if all := s.Observations(watchedUntil()); len(all) != 0 {
		t.Errorf("at the end: %+v", all)
	}
	if o, ok := s.Observed("stripe"); ok {
		t.Errorf("an app beside it: %+v", o)
	}
}

// In production nothing is observed without an exception, nor is what nobody fronts yet.
func TestObserveModeNeedsAnExceptionInProduction(t *testing.T) {
	const sidecar, env = "sidecar: spiffe://acme.example/gw/sidecar", "environment: prod"
	staging := change{"mayfly.yaml", sidecar, "sidecar: spiffe://acme.example/staging/gw/sidecar"}
	for name, c := range map[string]struct {
		edits []change
		needs bool
	}{
		"in production":                    {nil, true},
		"an environment called so":         {[]change{staging}, true},
		"a sidecar that is called nothing": {[]change{{"mayfly.yaml", env, "environment: staging"}}, true},
		"outside":                          {[]change{staging, {"mayfly.yaml", env, "environment: staging"}}, false},
		"fronted by nobody":                {[]change{staging, {"mayfly.yaml", env, "environment: staging"}, {"mayfly.yaml", "apps: [stripe, reports]", "apps: [stripe]"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(edited(t, append(c.edits, change{web, "kind: web", "kind: web\nmode: observe"})...), options(t))
			var all Errors
			if needs := errors.As(err, &all) && all[0].Code == CodeException && all[0].File == web; needs != c.needs {
				t.Fatalf("without an exception: %v", err)
			}
			if c.needs {
				return
			}
			if o, ok := s.Observed("reports"); !ok || !o.Until.IsZero() || o.Owner == "" {
				t.Errorf("%+v", o)
			}
		})
	}
}

// A commit observes for 30 days at most, as it enters into force; another one may go on.
func TestAnExceptionToObserveIsShort(t *testing.T) {
	s, err := Load(edited(t, watching()...), options(t))
	if err != nil {
		t.Fatal(err)
	}
	var all Errors
	if err := s.CheckAt(watchedUntil().Add(-MaxObserve-time.Second), nil); !errors.As(err, &all) || all[0].Code != CodeCap || all[0].File != "exceptions/observe-reports.yaml" || all[0].Line != 5 || !strings.Contains(all[0].Message, "30 days") {
		t.Errorf("31 days: %v", err)
	}
	if err := s.CheckAt(watchedUntil().Add(-MaxObserve), nil); err != nil {
		t.Errorf("30 days: %v", err)
	}
	if s, err = Load(edited(t, change{reports, "[http.get, http.head]", "[\"http.*\"]"}, exceptionTo("", "")), options(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckAt(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil); err != nil {
		t.Errorf("another kind of exception, for longer: %v", err)
	}
}

// Observe mode lets more pass, and so does a later end of it.
func TestObserveModeWidens(t *testing.T) {
	load := func(edits ...change) *Set {
		s, err := Load(edited(t, append([]change{
			{"mayfly.yaml", "sidecar: spiffe://acme.example/gw/sidecar", "sidecar: spiffe://acme.example/staging/gw/sidecar"}, {"mayfly.yaml", "environment: prod", "environment: staging"},
		}, edits...)...), options(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	enforce, observe := load(), load(change{web, "kind: web", "kind: web\nmode: observe"})
	if c := Compare(enforce, observe); !c.Widens() {
		t.Errorf("on: %+v", c.Changes)
	}
	if c := Compare(observe, enforce); c.Widens() || len(c.Changes) == 0 {
		t.Errorf("off: %+v", c.Changes)
	}
	until := func(day string) Change {
		s, err := Load(edited(t, watching(change{"exceptions/observe-reports.yaml", "until: 2027-01-31", "until: " + day})...), options(t))
		if err != nil {
			t.Fatal(err)
		}
		was, err := Load(edited(t, watching()...), options(t))
		if err != nil {
			t.Fatal(err)
		}
		return Compare(was, s).Changes[0]
	}
	if c := until("2027-02-01"); c.Effect != Gains || !c.Widens {
		t.Errorf("a later end: %+v", c)
	}
	if c := until("2027-01-30"); c.Effect != Loses || c.Widens {
		t.Errorf("an earlier end: %+v", c)
	}
}
