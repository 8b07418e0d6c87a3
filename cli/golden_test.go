package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// go test ./cli -run Scripts -update rewrites testdata/golden.
var update = flag.Bool("update", false, "rewrite the golden files")

// changing are what is another one each time, and what stands for it in a golden file.
// Of a digest the length stays, so that a table keeps its columns.
func changing() [][2]string {
	return [][2]string{
		{`(req|grt|act|den|apr|ofr|spl|rec)_[0-9A-Z]{26}`, "${1}_00000000000000000000000000"},
		{`\b[0-9a-f]{64}\b`, strings.Repeat("0", 64)},
		{`20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z`, "2026-01-05T09:00:00Z"},
		{`\b20\d\d-\d\d-\d\d\b`, "2026-01-05"},
		{`leaf \d+`, "leaf 0"}, {`\(told [0-9.a-zµ]+ before\)`, "(told 1s before)"}, {`cel-go/v[0-9.]+`, "cel-go/v0"},
		{`"age": "[^"]+"`, `"age": "1s"`}, {`"leaf": "\d+"`, `"leaf": "0"`}, {`\\"(now|groups_at)\\":\\"[^"]*\\"`, `\"$1\":\"2026-01-05T09:00:00Z\"`},
	}
}

// golden compares the last output with a file.
func (s *script) golden(ts *testscript.TestScript, _ bool, args []string) {
	got := ts.ReadFile("stdout")
	for _, c := range changing() {
		got = regexp.MustCompile(c[0]).ReplaceAllString(got, c[1])
	}
	path := filepath.Join("testdata", "golden", args[0]) // the test's folder, not the script's
	if *update {
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	ts.Check(err)
	if string(want) != got {
		ts.Fatalf("%s is\n%s\nand not\n%s", path, want, got)
	}
}

// refused ships a gateway's refusal of the refunder: VAR CODE OPERATION name=value…; a
// name alone is an attribute of which the record keeps the HMAC.
func (s *script) refused(ts *testscript.TestScript, _ bool, args []string) {
	d := audit.Denied{Denial: grant.NewMinter().NewDenialID(s.clock()).String(), Code: args[1], Try: s.try(args)}
	s.ships(ts, audit.TypeActionDenied, d)
	ts.Setenv(args[0], d.Denial)
}

// did ships what a gateway let pass under a grant: GRANT OPERATION name=value….
func (s *script) did(ts *testscript.TestScript, _ bool, args []string) {
	s.ships(ts, audit.TypeActionIntent, audit.Intent{Grant: args[0], Try: s.try(append([]string{"", ""}, args[1:]...))})
}

// observed ships what passed undecided on an app in observe mode, and would have been
// refused: arguments as of refused.
func (s *script) observed(ts *testscript.TestScript, _ bool, args []string) {
	o := audit.Observed{Code: args[1], Until: audit.At(s.clock().Add(24 * time.Hour)), Try: s.try(args)}
	s.ships(ts, audit.TypeActionObserved, o)
	ts.Setenv(args[0], o.Action)
}

// try is the refunder's, of the arguments of refused.
func (s *script) try(args []string) audit.Try {
	t := audit.Try{
		Action: grant.NewMinter().NewActionID(s.clock()).String(), Principal: s.ca.TrustDomain().IDString() + refunder, App: "stripe", Operation: args[2], Class: "money",
		Attributes: map[string]audit.Attr{}, Epoch: 1, Revision: 17, FreshnessMS: 412,
	}
	for _, a := range args[3:] {
		if name, value, ok := strings.Cut(a, "="); ok {
			t.Attributes[name] = audit.Attr{Value: value}
		} else {
			t.Attributes[a] = audit.Attr{HMAC: strings.Repeat("0", 64)}
		}
	}
	return t
}

// ships hands a record of a gateway over, in a spool of its own.
func (s *script) ships(ts *testscript.TestScript, kind audit.Type, body any) {
	m, now := grant.NewMinter(), s.clock()
	rec, err := audit.Encode(audit.Record{ID: m.NewRecordID(now).String(), Type: kind, Time: now, Node: gateway + "#1", Seq: 1, Body: body})
	ts.Check(err)
	frames, _, err := audit.AppendFrame(nil, audit.Hash{}, rec)
	ts.Check(err)
	seg, err := audit.NewSegment(m.NewSpoolID(now).String(), audit.Hash{}, 1, frames)
	ts.Check(err)
	_, err = s.Source().Ingest(s.t.Context(), instance("1"), &feed.IngestRequest{
		Spool: seg.Spool, First: seg.First, Last: seg.Last, Frames: frames, Root: seg.Root[:], ChainHead: seg.ChainHead[:],
	})
	ts.Check(err)
}
