package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/process"
)

// TestP8_ADenialIsExplainedFromTheSpoolAlone has no mayflyd, and no sidecar that runs.
func TestP8_ADenialIsExplainedFromTheSpoolAlone(t *testing.T) {
	dir, m := t.TempDir(), grant.NewMinter()
	now := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	id := m.NewDenialID(now).String()
	rec, err := audit.Encode(audit.Record{ID: m.NewRecordID(now).String(), Type: audit.TypeActionDenied, Time: now, Node: "gateway#1", Seq: 1, Body: audit.Denied{
		Denial: id, Code: "constraint", Try: audit.Try{
			Action: m.NewActionID(now).String(), Principal: "p_1", App: "stripe", Operation: "refunds.create", Epoch: 1, Revision: 17, FreshnessMS: 412,
			Attributes: map[string]audit.Attr{"amount": {Value: "6000"}, "note": {HMAC: strings.Repeat("0", 64)}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := audit.AppendFrame(nil, audit.Hash{}, rec)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "state", "spool", "00000000000000000001.frames")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	frames = append(frames, 0, 0, 1) // a frame that is being written
	if err := os.WriteFile(file, frames, 0o600); err != nil {
		t.Fatal(err)
	}
	writeRecordKey(t, filepath.Join(dir, "record.pub"))
	config := filepath.Join(dir, "sidecar.yaml")
	var lines []string
	for _, line := range strings.Split(basic, "\n") {
		if !strings.HasPrefix(line, "run_dir:") && !strings.HasPrefix(line, "state_dir:") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "\n") + "\nrun_dir: " + filepath.Join(dir, "run") + "\nstate_dir: " + filepath.Join(dir, "state") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, said strings.Builder
	c := command()
	c.SetOut(&out)
	if exit := process.Execute(t.Context(), c, []string{"explain", id, "--config", config}, &said); exit != 0 {
		t.Fatalf("exit %d: %s", exit, said.String())
	}
	for _, want := range []string{"From the record", "constraint", `amount = "6000"`, "note is on record by HMAC only", "revision 1/17, lease 412ms old", "Not known here: the sidecar does not answer", "mayfly explain " + id} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, out.String())
		}
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(frames) {
		t.Error("the spool was changed")
	}
	if exit := process.Execute(t.Context(), command(), []string{"explain", "den_01JZZZZZZZZZZZZZZZZZZZZZZZ", "--config", config}, &said); exit != 1 || !strings.Contains(said.String(), "nothing is known here") {
		t.Errorf("exit %d: %s", exit, said.String())
	}
}
