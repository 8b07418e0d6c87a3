package env

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// What holds everything else must itself see each kind of breach.
func TestARecordIsHeldAgainstWhatArrived(t *testing.T) {
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	intent := func(g string) Intent {
		return Intent{Intent: audit.Intent{Grant: g, Try: audit.Try{App: "reports", Ask: audit.Ask{Method: "GET"}}}}
	}
	r := NewRecord()
	r.Intents["act_1"], r.Intents["act_2"], r.Intents["act_3"] = intent("grt_1"), intent("grt_2"), intent("grt_3")
	watched := audit.Observed{Code: "no_grant", Until: audit.At(noon), Try: audit.Try{App: "reports", Ask: audit.Ask{Method: "GET"}}}
	r.Observed["act_5"] = watched
	r.Grants["grt_1"], r.Grants["grt_2"] = noon, noon.Add(time.Hour)
	r.Settled["grt_2"] = noon
	arrival := func(action string, after time.Duration) Arrival {
		return Arrival{Action: action, App: "reports", Method: "GET", At: noon.Add(after)}
	}
	other := arrival("act_1", 0)
	other.Method = "POST"
	for name, c := range map[string]struct {
		arrivals []Arrival
		want     []BreachKind
	}{
		"in its term":                         {[]Arrival{arrival("act_1", -time.Second)}, nil},
		"as late as it may be":                {[]Arrival{arrival("act_1", Late)}, nil},
		"later":                               {[]Arrival{arrival("act_1", Late+1)}, []BreachKind{AfterEnd}},
		"a revoke is not settled":             {[]Arrival{arrival("act_2", 0)}, nil},
		"after the receipts of a revoke":      {[]Arrival{arrival("act_2", Late+1)}, []BreachKind{AfterEnd}},
		"without an intent":                   {[]Arrival{arrival("act_9", 0)}, []BreachKind{Unrecorded}},
		"of a grant that is not on record":    {[]Arrival{arrival("act_3", 0)}, []BreachKind{Unrecorded}},
		"twice":                               {[]Arrival{arrival("act_1", 0), arrival("act_1", 0)}, []BreachKind{Twice}},
		"observed":                            {[]Arrival{arrival("act_5", Late)}, nil},
		"observed, and enforced since":        {[]Arrival{arrival("act_5", Late+1)}, []BreachKind{AfterEnd}},
		"observed twice":                      {[]Arrival{arrival("act_5", 0), arrival("act_5", 0)}, []BreachKind{Twice}},
		"something else than its intent says": {[]Arrival{other}, []BreachKind{Other}},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.Hold(c.arrivals)
			if len(got) != len(c.want) {
				t.Fatalf("%v, want %v", got, c.want)
			}
			for i, b := range got {
				if b.Kind != c.want[i] {
					t.Errorf("%v is of kind %d, want %d", b, b.Kind, c.want[i])
				}
			}
		})
	}
}

// A record is read on from where it was read to; what was read must be there still.
func TestARecordIsReadOnFromWhatItWas(t *testing.T) {
	leaf := func(seq uint64, id string) string {
		now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
		b, err := audit.Encode(audit.Record{
			ID: grant.NewMinter().NewRecordID(now).String(), Type: audit.TypeGrantReceipts, Time: now, Node: "mayflyd", Seq: seq, Subject: id,
			Body: map[string]any{"grant": id},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	export := func(text string) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "leaves"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "leaves", "0.jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	first, second := leaf(0, "grt_1"), leaf(1, "grt_2")
	r := NewRecord()
	for _, text := range []string{first, first, first + second} {
		if err := r.Read(export(text)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Leaves) != 2 || len(r.Settled) != 2 {
		t.Errorf("%d leaves and %d settled grants, want two", len(r.Leaves), len(r.Settled))
	}
	for name, dir := range map[string]string{"shorter": export(first), "another": export(second + first), "gone": t.TempDir()} {
		if err := r.Read(dir); err == nil {
			t.Errorf("%s: a record that is not as it was is taken", name)
		}
	}
}
