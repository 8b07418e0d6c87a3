package cli

import (
	"context"
	"strings"
	"testing"
)

// toApp is a way to an app of a kind that has names of its own.
type toApp struct{ names string }

func (toApp) Run(context.Context) error { return nil }

func (a toApp) Environment() []string {
	return append([]string{"MAYFLY_URL=http://127.0.0.1:1", "MAYFLY_KEY=k"}, strings.Fields(a.names)...)
}

// A program with a bundle finds each app under a name of its own, or nothing is run: a
// call must not reach another account than the one that was meant.
func TestWaysAreToldApart(t *testing.T) {
	stripe, other, wiki := wayTo{toApp{"STRIPE_API_KEY=k"}, "stripe", "grt_1"}, wayTo{toApp{"STRIPE_API_KEY=k2"}, "stripe-eu", "grt_2"}, wayTo{toApp{}, "team-wiki", "grt_3"}
	if err := apart([]wayTo{stripe, wiki}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(append(stripe.environment(true), wiki.environment(true)...), " ")
	want := "MAYFLY_STRIPE_URL=http://127.0.0.1:1 MAYFLY_STRIPE_KEY=k STRIPE_API_KEY=k MAYFLY_TEAM_WIKI_URL=http://127.0.0.1:1 MAYFLY_TEAM_WIKI_KEY=k"
	if got != want {
		t.Errorf("environment %q", got)
	}
	if got := strings.Join(wiki.environment(false), " "); got != "MAYFLY_URL=http://127.0.0.1:1 MAYFLY_KEY=k" {
		t.Errorf("of one app %q", got)
	}
	err := apart([]wayTo{stripe, wiki, other})
	if err == nil || !strings.Contains(err.Error(), "stripe and stripe-eu would both be STRIPE_API_KEY") {
		t.Errorf("two accounts under one name: %v", err)
	}
}
