package access_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// owner is somebody who owns the machine of mayflyd, and its database.
type owner struct {
	*world
	db *sql.DB
}

func newOwner(t testing.TB) *owner {
	t.Helper()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "mayfly.db")
	template, _ := templates.Load("db")
	if err := os.WriteFile(path, template.([]byte), 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(path, func(s access.Store) access.Store { return s })
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	o := &owner{world: w, db: db}
	for _, trigger := range []string{"leaves_update", "hashes_update"} {
		o.exec("DROP TRIGGER " + trigger)
	}
	return o
}

func (o *owner) exec(query string, args ...any) {
	o.t.Helper()
	r, err := o.db.ExecContext(o.t.Context(), query, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 && !strings.HasPrefix(query, "DROP") {
		o.t.Fatalf("%s changed nothing: %v", query, err)
	}
}

func (o *owner) bytes(query string, args ...any) []byte {
	o.t.Helper()
	var out []byte
	if err := o.db.QueryRowContext(o.t.Context(), query, args...).Scan(&out); err != nil {
		o.t.Fatal(err)
	}
	return out
}

// swap replaces a text in what a query reads, and writes it back.
func swap(t testing.TB, in []byte, pairs ...string) []byte {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(in, []byte(pairs[i])) {
			t.Fatalf("%s does not say %q", in, pairs[i])
		}
		in = bytes.ReplaceAll(in, []byte(pairs[i]), []byte(pairs[i+1]))
	}
	return in
}

func (o *owner) inputs(id grant.RequestID, pairs ...string) []byte {
	o.t.Helper()
	raw := swap(o.t, o.bytes(`SELECT inputs FROM requests WHERE id = ?`, id.String()), pairs...)
	o.exec(`UPDATE requests SET inputs = ? WHERE id = ?`, raw, id.String())
	return raw
}

// leaf is where the decision of a request stands.
func (o *owner) leaf(id grant.RequestID) (at int64, raw []byte) {
	o.t.Helper()
	for i, r := range o.leaves() {
		if r.Type == "decision.made" && r.Subject == id.String() {
			return int64(i), o.bytes(`SELECT leaf FROM leaves WHERE idx = ?`, i)
		}
	}
	o.t.Fatal("no leaf")
	return 0, nil
}

// forge changes the decision, its leaf and the tree's hash of it, all fitting.
func (o *owner) forge(id grant.RequestID, pairs ...string) {
	o.t.Helper()
	at, raw := o.leaf(id)
	var basis struct {
		Decisions []json.RawMessage `json:"decisions"`
	}
	if err := json.Unmarshal(o.inputs(id, pairs...), &basis); err != nil {
		o.t.Fatal(err)
	}
	var leaf struct {
		Body struct {
			Decision string `json:"decision"`
		} `json:"body"`
	}
	if err := json.Unmarshal(raw, &leaf); err != nil {
		o.t.Fatal(err)
	}
	sum := sha256.Sum256(basis.Decisions[0])
	raw = swap(o.t, raw, append(pairs, leaf.Body.Decision, hex.EncodeToString(sum[:]))...)
	o.exec(`UPDATE leaves SET leaf = ? WHERE idx = ?`, raw, at)
	hash := tlog.RecordHash(raw)
	o.exec(`UPDATE hashes SET hash = ? WHERE idx = ?`, hash[:], tlog.StoredHashIndex(0, at))
}

// TestP8_WhatWasChangedAfterwardsIsTold has the owner of the database plant each thing
// that a decision was made from.
func TestP8_WhatWasChangedAfterwardsIsTold(t *testing.T) {
	const file = "entitlements/reports/read.yaml"
	for _, c := range []struct {
		name          string
		plant         func(o *owner, id grant.RequestID, digest string)
		replay, cause string
		where         string
	}{
		{"nothing", func(*owner, grant.RequestID, string) {}, access.ReplaySame, "", ""},
		{"an input", func(o *owner, id grant.RequestID, _ string) {
			o.inputs(id, `"group:idp/engineers"`, `"group:idp/interns"`)
		}, access.ReplayMismatch, access.CauseInput, ""},
		{"a reason", func(o *owner, id grant.RequestID, _ string) { o.inputs(id, `approved by rule`, `approved by hand`) }, access.ReplayMismatch, access.CauseInput, ""},
		{"the engine alone", func(o *owner, id grant.RequestID, _ string) { o.inputs(id, policy.EngineVersion(), "mayfly-policy/0") },
			access.ReplayMismatch, access.CauseInput, `engine is "mayfly-policy/0", and was "` + policy.EngineVersion() + `"`},
		{"the outcome", func(o *owner, id grant.RequestID, _ string) {
			o.inputs(id, `"outcome":"granted"`, `"outcome":"denied"`)
		},
			access.ReplayMismatch, access.CauseInput, `outcome is "denied", and was "granted"`},
		{"a file", func(o *owner, _ grant.RequestID, digest string) {
			o.exec(`UPDATE policy_files SET body = ? WHERE policy = ? AND path = ?`, []byte("entitlement: reports/read\n"), digest, file)
		}, access.ReplayMismatch, access.CauseFile, file + " has another content"},
		{"a file less", func(o *owner, _ grant.RequestID, digest string) {
			o.exec(`DELETE FROM policy_files WHERE policy = ? AND path = ?`, digest, file)
		}, access.ReplayMismatch, access.CauseFile, file + " is missing"},
		{"a file more", func(o *owner, _ grant.RequestID, digest string) {
			o.exec(`INSERT INTO policy_files (policy, path, body) VALUES (?, 'entitlements/x.yaml', x'')`, digest)
		}, access.ReplayMismatch, access.CauseFile, "entitlements/x.yaml was not there"},
		{"a file and the manifest", func(o *owner, _ grant.RequestID, digest string) {
			o.exec(`UPDATE policy_files SET body = x'' WHERE policy = ? AND path = ?`, digest, file)
			o.exec(`UPDATE policies SET manifest = ? WHERE digest = ?`, []byte(`[["`+file+`","00"]]`), digest)
		}, access.ReplayMismatch, access.CauseFile, "which one cannot be told: the stored manifest was changed too"},
		{"the leaf", func(o *owner, id grant.RequestID, _ string) {
			at, raw := o.leaf(id)
			o.exec(`UPDATE leaves SET leaf = ? WHERE idx = ?`, swap(o.t, raw, `"outcome":"granted"`, `"outcome":"denied"`), at)
		}, access.ReplayMismatch, access.CauseRecord, ""},
		{"where the leaf is", func(o *owner, id grant.RequestID, _ string) {
			o.exec(`DELETE FROM places WHERE id = ?`, id.String())
		}, access.ReplayMismatch, access.CauseNoRecord, ""},
		{"another engine, by which all was decided", func(o *owner, id grant.RequestID, _ string) {
			o.forge(id, policy.EngineVersion(), "mayfly-policy/0")
		}, access.ReplayEngineOther, access.CauseEngine, ""},
		{"another decision of this engine", func(o *owner, id grant.RequestID, _ string) {
			o.forge(id, `"outcome":"granted"`, `"outcome":"denied"`)
		}, access.ReplayMismatch, access.CauseOther, ""},
		{"another catalogue", func(o *owner, id grant.RequestID, _ string) {
			_, raw := o.leaf(id)
			_, rest, _ := strings.Cut(string(raw), `"catalogue":"`)
			o.forge(id, rest[:64], strings.Repeat("0", 64))
		}, access.ReplayEngineOther, access.CauseCatalogue, "reports"},
		{"the policy is gone", func(o *owner, _ grant.RequestID, digest string) {
			o.exec(`DELETE FROM policy_files WHERE policy = ?`, digest)
			o.exec(`DELETE FROM policies WHERE digest = ?`, digest)
		}, access.ReplayImpossible, access.CauseNoPolicy, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOwner(t)
			set, err := o.Policy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := o.ask(o.as(carol), reports(), access.Approved)
			before := o.rederived(r.ID)
			if before.Replay != access.ReplaySame || before.Leaf < 0 {
				t.Fatalf("before: %+v", before)
			}
			o.apply("entitlements/reports/read.yaml", "max: 8h", "max: 7h")
			o.pass(time.Hour)
			c.plant(o, r.ID, set.Digest())
			got := o.rederived(r.ID)
			if got.Replay != c.replay || got.Cause != c.cause || c.where != "" && got.Where != c.where {
				t.Errorf("%+v; want %s, %s at %q", got.Rederived, c.replay, c.cause, c.where)
			}
			if (got.Trail != nil) != (c.replay == access.ReplaySame) {
				t.Error("what is not the same is explained as if it were, or what is the same is not explained")
			}
			if got.Replay != access.ReplaySame && got.Detail == "" {
				t.Error("nothing is said about it")
			}
		})
	}
}

func (o *owner) rederived(id grant.RequestID) access.ExplainedDecision {
	o.t.Helper()
	x, err := o.Explain(o.t.Context(), o.as(dave), id.String())
	if err != nil {
		o.t.Fatal(err)
	}
	return x.Decisions[0]
}

func TestTheCausesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cause := range []string{
		access.CauseInput, access.CauseFile, access.CauseRecord, access.CauseNoRecord, access.CauseOther, access.CauseEngine,
		access.CauseCatalogue, access.CauseNoPolicy, access.CauseUnreadable,
	} {
		if !bytes.Contains(page, []byte("`"+cause+"`")) {
			t.Errorf("docs/explain.md does not say %s", cause)
		}
	}
}

// TestP8_ADecisionIsToldAYearLater: by then the one who asked has left, the group that
// approved has another name, and the entitlement is no more.
func TestP8_ADecisionIsToldAYearLater(t *testing.T) {
	w := newWorld(t)
	byRule, byPeople := w.ask(w.as(carol), reports(), access.Approved), w.granted()
	w.pass(365 * 24 * time.Hour)
	delete(w.files, "entitlements/reports/read.yaml")
	for name, text := range w.files {
		w.files[name] = bytes.ReplaceAll(text, []byte("carol"), []byte("erin"))
	}
	w.apply(refundsFile, "group:idp/payments-leads", "group:idp/finance")
	w.login(carol, "carol@other.example")
	for _, c := range []struct {
		id                   grant.RequestID
		owner, groups, steps string
		rule                 string
	}{
		{byRule.ID, "team-data", "group:idp/engineers group:idp/payments-leads", "", "true"},
		{byPeople.ID, "team-payments", "", "group:idp/payments-leads by " + bob, ""},
	} {
		x, err := w.Explain(t.Context(), w.as(dave), c.id.String())
		if err != nil {
			t.Fatal(err)
		}
		d := x.Decisions[0]
		var steps []string
		for _, s := range d.Steps {
			for _, said := range s.Said {
				steps = append(steps, strings.Join(s.Any, " ")+" by "+said.Approver.String())
			}
		}
		if d.Replay != access.ReplaySame || d.Trail == nil || x.Owner != c.owner || d.Trail.Owner != c.owner || d.Inputs.Commit != firstCommit {
			t.Errorf("%s: %s %s %s, of %s", c.id, d.Replay, d.Cause, d.Detail, x.Owner)
			continue
		}
		if got := strings.Join(d.Inputs.Groups, " "); got != c.groups || strings.Join(steps, ", ") != c.steps {
			t.Errorf("%s: groups %q, approved %q", c.id, got, steps)
		}
		if d.Trail.Condition != nil && d.Trail.Condition.Value != c.rule || d.Trail.Condition == nil && c.rule != "" {
			t.Errorf("%s: the rule was %+v", c.id, d.Trail.Condition)
		}
	}
}
