package access_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// TestALogTellsWhoWroteWhichLine has a file changed, left alone, changed back in part and
// removed, and asks what each text decided.
func TestALogTellsWhoWroteWhichLine(t *testing.T) {
	w := newWorld(t)
	ask := func() access.Request { return w.ask(w.as(refunder), refund(), access.Pending) }
	log := func() access.PolicyLog {
		t.Helper()
		l, err := w.LogPolicy(t.Context(), w.in(dave, "security"), "stripe/refunds")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	from := func(l access.PolicyLog, part string) int {
		t.Helper()
		for _, line := range l.Lines {
			if strings.Contains(line.Text, part) {
				return line.Version
			}
		}
		t.Errorf("no line has %q", part)
		return -1
	}
	ask()
	w.pass(time.Minute)
	w.apply(refundsFile, "max: 50000}", "max: 40000}", "count: 1", "count: 2")
	ask()
	w.pass(time.Minute)
	w.apply("entitlements/reports/read.yaml", "max: 8h", "max: 7h") // another file: the same text here
	last := ask()
	w.pass(time.Minute)
	w.apply(refundsFile, "count: 2", "count: 3", "# Give money back", "# Newly said.\n# Give money back")
	l := log()
	if len(l.Versions) != 3 || l.Path != refundsFile {
		t.Fatalf("%+v", l.Versions)
	}
	for i, want := range []struct{ added, removed, requests int }{{l.Versions[0].Added, 0, 1}, {2, 2, 2}, {2, 1, 0}} {
		v := l.Versions[i]
		if v.Added != want.added || v.Removed != want.removed || v.Requests != want.requests || !v.There || !slices.Equal(v.Signers, []string{"sam"}) || v.Commit == "" {
			t.Errorf("version %d is %+v, want %+v", i, v, want)
		}
	}
	if got := l.Versions[1].Newest; len(got) != 2 || got[0] != last.ID {
		t.Errorf("the second decided %v", got)
	}
	for part, want := range map[string]int{"entitlement:": 0, "max: 40000}": 1, "count: 3": 2, "# Newly": 2, "# Give money": 0, "sensitivity": 0} {
		if got := from(l, part); got != want {
			t.Errorf("%q is from version %d, want %d", part, got, want)
		}
	}
	w.pass(time.Minute)
	delete(w.files, refundsFile)
	w.apply("")
	if l := log(); len(l.Versions) != 4 || l.Versions[3].There || len(l.Lines) != 0 || l.Versions[3].Removed == 0 {
		t.Errorf("after it was removed: %+v", l.Versions)
	}
	_, err := w.LogPolicy(t.Context(), w.in(bob, "payments-leads"), "stripe/refunds")
	wantCode(t, err, access.CodeNoGrant)
	_, err = w.LogPolicy(t.Context(), w.in(dave, "security"), "never/was")
	wantCode(t, err, access.CodeNotFound)
}

// TestALogShowsWhatCameBackAsItsOwnEntry has a change taken back by the same files under a
// commit of others, and asks what each time decided.
func TestALogShowsWhatCameBackAsItsOwnEntry(t *testing.T) {
	w := newWorld(t)
	ask := func() grant.RequestID { return w.ask(w.as(refunder), refund(), access.Pending).ID }
	enter := func(commit string, signers ...string) {
		t.Helper()
		w.pass(time.Hour)
		_, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: commit, Signer: signers[0], Cosigners: signers[1:], After: w.commit})
		if err != nil {
			t.Fatal(err)
		}
		w.commit = commit
	}
	edit := func(old, now string) {
		w.files = maps.Clone(w.files)
		w.files[refundsFile] = []byte(strings.Replace(string(w.files[refundsFile]), old, now, 1))
	}
	before := ask()
	edit("max: 50000}", "max: 40000}")
	enter("change", "sam")
	under := ask()
	edit("max: 40000}", "max: 50000}")
	enter("revert", "rita", "sam")
	after := ask()
	l, err := w.LogPolicy(t.Context(), w.in(dave, "security"), "stripe/refunds")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Versions) != 3 {
		t.Fatalf("%d versions: %+v", len(l.Versions), l.Versions)
	}
	for i, want := range []struct {
		commit, signers string
		at              time.Time
		request         grant.RequestID
	}{
		{firstCommit, "[sam]", epoch, before},
		{"change", "[sam]", epoch.Add(time.Hour), under},
		{"revert", "[rita sam]", epoch.Add(2 * time.Hour), after},
	} {
		v := l.Versions[i]
		if v.Commit != want.commit || fmt.Sprint(v.Signers) != want.signers || !v.At.Equal(want.at) || v.How != access.HowCommit {
			t.Errorf("version %d is %+v, want %+v", i, v, want)
		}
		if v.Requests != 1 || !slices.Equal(v.Newest, []grant.RequestID{want.request}) {
			t.Errorf("version %d decided %d: %v, want %v", i, v.Requests, v.Newest, want.request)
		}
	}
	for _, line := range l.Lines {
		if want := strings.Contains(line.Text, "max: 50000}"); want != (line.Version == 2) {
			t.Errorf("%q is from version %d", line.Text, line.Version)
		}
	}
}
