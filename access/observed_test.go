package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/policy"
)

// observe puts the app stripe in observe mode for a day.
func (w *world) observe() time.Time {
	w.t.Helper()
	until := w.clock().Add(24 * time.Hour).Truncate(time.Second)
	w.files["exceptions/observe-stripe.yaml"] = []byte("exception: observe-stripe\nowner: team-migration\nallows: observe\napp: stripe\nuntil: " + until.UTC().Format(time.RFC3339) + "\nreason: The old way is still open.\n")
	w.apply("apps/stripe.yaml", "kind: stripe", "kind: stripe\nmode: observe")
	return until
}

// The feed tells gateways until when, and asks for one that understands it; the record
// says which apps a policy observes; and nobody is told of one that is over.
func TestAnObservedAppAsksForANewerReader(t *testing.T) {
	w := newWorld(t)
	if list, err := w.Observations(t.Context()); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	until := w.observe()
	s, err := snapshotOf(t.Context(), w.Source(), []string{"stripe"})
	if err != nil || len(s.Resources) != 1 {
		t.Fatal(s, err)
	}
	if r := s.Resources[0]; r.GetMinReader() != 5 || r.GetApp().GetObserve().GetUntilUs() != until.UnixMicro() {
		t.Errorf("min_reader %d, %v", r.GetMinReader(), r.GetApp().GetObserve())
	}
	leaves := w.leaves()
	var told bool
	for _, l := range leaves {
		body, err := l.Map()
		if err != nil {
			t.Fatal(err)
		}
		if list, ok := body["observed"].([]any); ok && l.Type == audit.TypePolicyApplied && len(list) == 1 && list[0].(map[string]any)["app"] == "stripe" {
			told = true
		}
	}
	if !told {
		t.Error("the record does not say which apps the policy observes")
	}
	list, err := w.Observations(t.Context())
	if err != nil || len(list) != 1 || list[0].App != "stripe" || list[0].Owner != "team-migration" || !list[0].Until.Equal(until) {
		t.Errorf("%+v, %v", list, err)
	}
	w.pass(24 * time.Hour)
	if list, err := w.Observations(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("over: %+v, %v", list, err)
	}
}

// A commit that would observe for longer than 30 days does not enter into force.
func TestObservingForLongKeepsACommitOut(t *testing.T) {
	w := newWorld(t)
	w.observe()
	w.files["exceptions/observe-stripe.yaml"] = []byte(strings.Replace(string(w.files["exceptions/observe-stripe.yaml"]), "until: ", "until: "+w.clock().Add(31*24*time.Hour).UTC().Format(time.DateOnly)+" #", 1))
	_, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: strings.Repeat("2", 40), After: w.commit})
	var all policy.Errors
	if !errors.As(err, &all) || all[0].Code != policy.CodeCap {
		t.Errorf("%v", err)
	}
}
