package access_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
)

// ahead is a signed checkpoint of entries that are not there.
func (w *world) ahead() []byte {
	w.t.Helper()
	size := must(audit.ParseNote(must(w.Checkpoint(w.t.Context())))).Size
	return must(w.signing.Sign(size+7, audit.SHA256([]byte("what is lost"))))
}

// An operator goes on with an older copy: what is missing is on the record, a new epoch
// begins, and nothing that may have ended since goes on.
func TestP9_RecoveringIsRecordedAndEndsAllAccess(t *testing.T) {
	w := newWorld(t)
	requests := []access.Request{w.granted(), w.granted()}
	i, login := w.join("1"), w.login(alice, "alice@acme.example")
	lost, before := w.ahead(), w.head()
	from := len(w.leaves())
	done := must(w.Recover(t.Context(), [][]byte{lost}))
	if done.Grants != 2 || done.Sessions != 1 || len(done.Evidence) != 1 || done.Entries != int64(from) {
		t.Errorf("%+v", done)
	}
	if got := w.types(from); got != "record.recovered grant.revoked grant.revoked session.ended" {
		t.Fatalf("recorded: %s", got)
	}
	leaf := w.leaves()[from]
	var body struct{ Evidence []string }
	if err := json.Unmarshal(leaf.Body.(json.RawMessage), &body); err != nil || len(body.Evidence) != 1 || body.Evidence[0] != string(lost) {
		t.Errorf("the evidence is not on the record: %s", leaf.Body)
	}
	for _, r := range requests {
		if g := must(w.ShowGrant(t.Context(), w.as(refunder), r.Grant)); g.State != grant.RevokedState {
			t.Errorf("grant %s is %s", r.Grant, g.State)
		}
	}
	w.view(func(ctx context.Context, tx access.Tx) error {
		if s, err := tx.Sessions().ByID(ctx, login.ID); err != nil || s.Live(w.clock()) {
			t.Errorf("a session that may have ended goes on: %v", err)
		}
		return nil
	})
	after := w.head()
	if after.Epoch <= before.Epoch || after.Epoch != done.Epoch || after.Revision != int64(len(w.leaves())) {
		t.Errorf("from %+v to %+v", before, after)
	}
	if pulse := w.beat(i); pulse.Head != after {
		t.Errorf("instances are told %+v", pulse.Head)
	}
	if s := must(snapshotOf(t.Context(), w.Source(), []string{"reports", "stripe"})); s.At != after || contains(s, requests[0].Grant.String()) {
		t.Errorf("a snapshot at %+v has an ended grant", s.At)
	}
}

func contains(s feedtest.Snapshot, id string) bool {
	for _, r := range s.Resources {
		if r.GetId() == id && r.GetGrant() != nil {
			return true
		}
	}
	return false
}

// The epoch that begins is above that of any copy that was recovered from before, of
// which this one knows nothing.
func TestP9_TheEpochOfARecoveryNeverComesTwice(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	first := must(w.Recover(t.Context(), [][]byte{w.ahead()}))
	other.pass(2e9) // a backup of the same database, recovered two seconds later
	second := must(other.Recover(t.Context(), [][]byte{other.ahead()}))
	if second.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d", second.Epoch, first.Epoch)
	}
}

// Without evidence that something is missing nothing happens.
func TestP9_NothingIsRecoveredWithoutEvidence(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	note := must(w.Checkpoint(t.Context()))
	w.granted()
	forged := bytes.Replace(w.ahead(), []byte("\n\n"), []byte("\n\n— other "), 1)
	for name, given := range map[string][][]byte{
		"none": nil, "one that the record continues": {note}, "one that nobody signed": {forged}, "no note": {[]byte("note")},
	} {
		before := len(w.leaves())
		if _, err := w.Recover(t.Context(), given); access.CodeOf(err) != access.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.types(before); got != "" {
			t.Errorf("%s: recorded %s", name, got)
		}
	}
	if g := must(w.ShowGrant(t.Context(), w.as(refunder), r.Grant)); g.State != grant.Active {
		t.Errorf("a grant is %s", g.State)
	}
	done := must(w.Recover(t.Context(), [][]byte{note, w.ahead()}))
	if len(done.Evidence) != 1 || strings.Contains(w.types(0), "record.recovered record.recovered") {
		t.Errorf("%+v", done)
	}
}
