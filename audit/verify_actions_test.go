package audit_test

import (
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/audit"
)

func TestP5_VerifyPairsIntentsReservationsAndOutcomes(t *testing.T) {
	type row struct {
		name  string
		write func(w *world)
		want  audit.Reason // of the only problem, "" for none
		note  audit.Reason // of the only note
	}
	good := func(w *world, action, class string) { w.intent(spoolA, action, "grt_1", class, true) }
	for _, tc := range []row{
		{"a reserved action that was sent", func(w *world) { good(w, "act_1", "money"); w.outcome(spoolA, "act_1", audit.ResultSent) }, "", ""},
		{"a read needs no reservation", func(w *world) {
			w.intent(spoolA, "act_1", "grt_1", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", ""},
		{"money sent without a reservation", func(w *world) {
			w.intent(spoolA, "act_1", "grt_1", "money", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonReservation, ""},
		{"a secret perhaps sent without a reservation", func(w *world) {
			w.intent(spoolA, "act_1", "grt_1", "secret", false)
			w.outcome(spoolA, "act_1", audit.ResultUnknown)
		}, audit.ReasonReservation, ""},
		{"killed before it could reserve", func(w *world) {
			w.intent(spoolA, "act_1", "grt_1", "admin", false)
			w.frame(spoolA, audit.TypeActionOutcome, audit.Outcome{Action: "act_1", Result: audit.ResultUnknown, Reason: audit.ReasonRestart})
		}, "", ""},
		{"refused a reservation, not sent", func(w *world) {
			w.intent(spoolA, "act_1", "grt_1", "money", false)
			w.outcome(spoolA, "act_1", audit.ResultNotSent)
		}, "", ""},
		{"still running", func(w *world) { good(w, "act_1", "money") }, "", audit.ReasonOpen},
		{"an outcome without an intent", func(w *world) { w.outcome(spoolA, "act_1", audit.ResultSent) }, audit.ReasonIntent, ""},
		{"an outcome in another spool", func(w *world) {
			good(w, "act_1", "money")
			w.outcome(spoolB, "act_1", audit.ResultSent)
		}, audit.ReasonIntent, audit.ReasonOpen},
		{"two outcomes", func(w *world) {
			good(w, "act_1", "money")
			w.outcome(spoolA, "act_1", audit.ResultSent)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonIntent, ""},
		{"an action of two intents", func(w *world) {
			good(w, "act_1", "money")
			w.outcome(spoolA, "act_1", audit.ResultSent)
			w.intent(spoolB, "act_1", "grt_1", "money", false)
		}, audit.ReasonIntent, ""},
		{"reserved twice", func(w *world) {
			seq, sha := w.frame(spoolA, audit.TypeActionIntent, intent("act_1", "grt_1", "money"))
			for range 2 {
				w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_1", Class: "money", Spool: spoolA, Seq: seq, Frame: sha})
			}
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonReservation, ""},
		{"reserved with another frame", func(w *world) {
			seq, _ := w.frame(spoolA, audit.TypeActionIntent, intent("act_1", "grt_1", "money"))
			w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_1", Class: "money", Spool: spoolA, Seq: seq, Frame: audit.Hash{1}})
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonReservation, ""},
		{"reserved under another grant", func(w *world) {
			seq, sha := w.frame(spoolA, audit.TypeActionIntent, intent("act_1", "grt_1", "money"))
			w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_2", Class: "money", Spool: spoolA, Seq: seq, Frame: sha})
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonReservation, ""},
		{"reserved, and the frame is another record", func(w *world) {
			w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_1", Class: "money", Spool: spoolA, Seq: 1})
		}, audit.ReasonReservation, ""},
		{"reserved, and not shipped yet", func(w *world) {
			w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_1", Class: "money", Spool: spoolA, Seq: 99})
		}, "", audit.ReasonPending},
		{"after the grant's end", func(w *world) {
			w.grant("grt_2", w.now.Add(time.Millisecond))
			w.now = w.now.Add(-time.Millisecond) // the intent's time is exactly not_after
			w.intent(spoolA, "act_1", "grt_2", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonGrant, ""},
		{"in the last microsecond", func(w *world) {
			w.grant("grt_2", w.now.Add(2*time.Millisecond+time.Microsecond))
			w.intent(spoolA, "act_1", "grt_2", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", ""},
		{"before the grant's beginning", func(w *world) {
			w.leaf(audit.TypeGrantCreated, audit.GrantCreated{Grant: "grt_2", NotBefore: audit.At(w.now.Add(time.Minute)), NotAfter: audit.At(w.now.Add(time.Hour))})
			w.intent(spoolA, "act_1", "grt_2", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonGrant, ""},
		{"under a grant that nobody made", func(w *world) {
			w.intent(spoolA, "act_1", "grt_9", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonGrant, ""},
		{"after a revoke", func(w *world) {
			w.leaf(audit.TypeGrantRevoked, map[string]any{"grant": "grt_1"})
			w.intent(spoolA, "act_1", "grt_1", "read", false)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", audit.ReasonAfterEnd},
		{"a grant without an end", func(w *world) { w.leaf(audit.TypeGrantCreated, map[string]any{"grant": "grt_2"}) }, audit.ReasonForm, ""},
		{"an intent without a class", func(w *world) { w.intent(spoolA, "act_1", "grt_1", "", false) }, audit.ReasonForm, ""},
		{"an intent with a key more", func(w *world) {
			w.frame(spoolA, audit.TypeActionIntent, map[string]any{"action": "act_1", "grant": "grt_1", "class": "read", "more": "x"})
		}, audit.ReasonForm, ""},
		{"a result that is none", func(w *world) { good(w, "act_1", "money"); w.outcome(spoolA, "act_1", "maybe") }, audit.ReasonForm, audit.ReasonOpen},
		{"a spool that says it is another", func(w *world) { w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolB}) }, audit.ReasonForm, ""},
		{"would have been denied", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", ""},
		{"would have been allowed, without a reservation", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "grt_1", ""))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", ""},
		{"would have been allowed under a grant that nobody made", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "grt_9", ""))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonGrant, ""},
		{"observed, and what became of it is open", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
		}, "", audit.ReasonOpen},
		{"observed after the end of observing", func(w *world) {
			w.observes("stripe", time.Time{})
			o := observed("act_1", "", "no_grant")
			o.Until = audit.At(w.now.Add(-time.Minute))
			w.frame(spoolA, audit.TypeActionObserved, o)
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonObserved, ""},
		{"observed and decided", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
			w.outcome(spoolA, "act_1", audit.ResultSent)
			w.intent(spoolA, "act_1", "grt_1", "read", false)
		}, audit.ReasonIntent, ""},
		{"observed and reserved", func(w *world) {
			w.observes("stripe", time.Time{})
			seq, sha := w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "grt_1", ""))
			w.leaf(audit.TypeActionReserved, audit.Reserved{Action: "act_1", Grant: "grt_1", Class: "money", Spool: spoolA, Seq: seq, Frame: sha})
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonObserved, ""},
		{"observed, and goes on under a grant", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "grt_1", ""))
			w.frame(spoolA, audit.TypeActionRebound, audit.Rebound{Action: "act_1", From: "grt_1", Grant: "grt_1"})
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonObserved, ""},
		{"observed, and both would have been", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "grt_1", "no_grant"))
		}, audit.ReasonForm, ""},
		{"observed, and neither would have been", func(w *world) {
			w.observes("stripe", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", ""))
		}, audit.ReasonForm, ""},
		{"observed where no policy observes", func(w *world) {
			w.observes("wiki", time.Time{})
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonObserved, ""},
		{"observed once no policy observes any more", func(w *world) {
			w.observes("stripe", w.now.Add(-time.Minute))
			w.observes("stripe", w.now.Add(-time.Hour))
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonObserved, ""},
		{"observed while one of two policies observes", func(w *world) {
			w.observes("stripe", w.now.Add(time.Hour))
			w.observes("stripe", w.now.Add(-time.Hour))
			w.frame(spoolA, audit.TypeActionObserved, observed("act_1", "", "no_grant"))
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, "", ""},
		{"a denial", func(w *world) {
			w.frame(spoolA, audit.TypeActionDenied, audit.Denied{Denial: "den_1", Code: "no_grant"})
		}, "", ""},
		{"an outcome of a denied action", func(w *world) {
			w.frame(spoolA, audit.TypeActionDenied, audit.Denied{Denial: "den_1", Code: "no_grant", Try: audit.Try{Action: "act_1"}})
			w.outcome(spoolA, "act_1", audit.ResultSent)
		}, audit.ReasonIntent, ""},
		{"an anchor twice", func(w *world) {
			w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolA})
			w.ship(spoolA)
			r, err := audit.Decode(w.Leaves[len(w.Leaves)-1])
			if err != nil {
				t.Fatal(err)
			}
			w.leaf(audit.TypeSegmentAnchored, r.Body)
		}, audit.ReasonAnchor, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.grant("grt_1", w.now.Add(time.Hour))
			w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolA})
			w.frame(spoolB, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolB})
			tc.write(w)
			for _, spool := range []string{spoolA, spoolB} {
				if s := w.spools[spool]; s.shipped < len(s.starts) {
					w.ship(spool)
				}
			}
			r := w.verify(w.export(), w.checkpoint())
			if only(r.Problems) != tc.want || only(r.Notes) != tc.note {
				t.Fatalf("want problem %q, note %q:\n%s", tc.want, tc.note, describe(r))
			}
		})
	}
}

// reboundWorld writes the stream act_1 of the app feeds under grt_a, and grants that it
// may go on under, or not.
func reboundWorld(t *testing.T) *world {
	w := newWorld(t)
	from := w.now
	w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolA})
	w.frame(spoolB, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolB})
	for id, change := range map[string]func(*audit.GrantCreated){
		"grt_a":      func(g *audit.GrantCreated) { g.NotAfter = audit.At(from.Add(time.Minute)) },
		"grt_b":      func(*audit.GrantCreated) {},
		"grt_c":      func(*audit.GrantCreated) {},
		"grt_theirs": func(g *audit.GrantCreated) { g.Principal = "p_2" },
		"grt_app":    func(g *audit.GrantCreated) { g.App = "stripe" },
		"grt_admin":  func(g *audit.GrantCreated) { g.Class = "admin" },
		"grt_short":  func(g *audit.GrantCreated) { g.NotAfter = audit.At(from.Add(time.Second)) },
		"grt_later":  func(g *audit.GrantCreated) { g.NotBefore = audit.At(from.Add(2 * time.Minute)) },
		"grt_gap":    func(g *audit.GrantCreated) { g.NotBefore = audit.At(from.Add(61 * time.Second)) },
	} {
		g := audit.GrantCreated{Grant: id, Principal: "p_1", App: "feeds", Class: "write", NotBefore: audit.At(from), NotAfter: audit.At(from.Add(time.Hour))}
		change(&g)
		w.leaf(audit.TypeGrantCreated, g)
	}
	w.frame(spoolA, audit.TypeActionIntent, audit.Intent{Grant: "grt_a", Try: audit.Try{Action: "act_1", App: "feeds", Operation: "http.get", Class: "read"}})
	return w
}

func (w *world) rebound(spool, action, from, to string) {
	w.frame(spool, audit.TypeActionRebound, audit.Rebound{Action: action, From: from, Grant: to})
}

func TestP5_VerifyHoldsAStreamThatGoesOnToItsGrants(t *testing.T) {
	later := func(w *world, d time.Duration) { w.now = w.now.Add(d) }
	sent := func(w *world) { w.outcome(spoolA, "act_1", audit.ResultSent) }
	for _, tc := range []struct {
		name  string
		write func(w *world)
		want  audit.Reason // of the only problem, "" for none
		note  audit.Reason // of the only note
	}{
		{"under another of the same holder", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_b"); sent(w) }, "", ""},
		{"when the first has just ended", func(w *world) { later(w, time.Minute); w.rebound(spoolA, "act_1", "grt_a", "grt_b"); sent(w) }, "", ""},
		{"twice", func(w *world) {
			w.rebound(spoolA, "act_1", "grt_a", "grt_b")
			w.rebound(spoolA, "act_1", "grt_b", "grt_c")
			sent(w)
		}, "", ""},
		{"and its gateway is killed", func(w *world) {
			w.rebound(spoolA, "act_1", "grt_a", "grt_b")
			w.frame(spoolA, audit.TypeActionOutcome, audit.Outcome{Action: "act_1", Result: audit.ResultUnknown, Reason: audit.ReasonRestart})
		}, "", ""},
		{"and on", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_b") }, "", audit.ReasonOpen},
		{"under one that was revoked", func(w *world) {
			w.leaf(audit.TypeGrantRevoked, map[string]any{"grant": "grt_b"})
			w.rebound(spoolA, "act_1", "grt_a", "grt_b")
			sent(w)
		}, "", audit.ReasonAfterEnd},
		{"after its outcome", func(w *world) { sent(w); w.rebound(spoolA, "act_1", "grt_a", "grt_b") }, audit.ReasonIntent, ""},
		{"without an intent", func(w *world) { w.rebound(spoolA, "act_2", "grt_a", "grt_b"); sent(w) }, audit.ReasonIntent, ""},
		{"in another spool", func(w *world) { w.rebound(spoolB, "act_1", "grt_a", "grt_b"); sent(w) }, audit.ReasonIntent, ""},
		{"from a grant that it was not under", func(w *world) { w.rebound(spoolA, "act_1", "grt_c", "grt_b"); sent(w) }, audit.ReasonIntent, ""},
		{"twice from the same", func(w *world) {
			w.rebound(spoolA, "act_1", "grt_a", "grt_b")
			w.rebound(spoolA, "act_1", "grt_a", "grt_c")
			sent(w)
		}, audit.ReasonIntent, ""},
		{"under another holder's", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_theirs"); sent(w) }, audit.ReasonGrant, ""},
		{"on another app", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_app"); sent(w) }, audit.ReasonGrant, ""},
		{"under one that nobody made", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_9"); sent(w) }, audit.ReasonGrant, ""},
		{"under one that has ended", func(w *world) { later(w, time.Second); w.rebound(spoolA, "act_1", "grt_a", "grt_short"); sent(w) }, audit.ReasonGrant, ""},
		{"under one that begins later", func(w *world) {
			w.rebound(spoolA, "act_1", "grt_a", "grt_b")
			w.rebound(spoolA, "act_1", "grt_b", "grt_later")
			sent(w)
		}, audit.ReasonGrant, ""},
		{"after a time under none", func(w *world) { later(w, 62*time.Second); w.rebound(spoolA, "act_1", "grt_a", "grt_gap"); sent(w) }, audit.ReasonGrant, ""},
		{"under one that is to be acknowledged", func(w *world) { w.rebound(spoolA, "act_1", "grt_a", "grt_admin"); sent(w) }, audit.ReasonReservation, ""},
		{"without saying from where", func(w *world) { w.rebound(spoolA, "act_1", "", "grt_b"); sent(w) }, audit.ReasonForm, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := reboundWorld(t)
			tc.write(w)
			w.ship(spoolA)
			w.ship(spoolB)
			r := w.verify(w.export(), w.checkpoint())
			if only(r.Problems) != tc.want || only(r.Notes) != tc.note {
				t.Fatalf("want problem %q, note %q:\n%s", tc.want, tc.note, describe(r))
			}
		})
	}
}

// only returns the reason of the only problem, "" for none.
func only(p []audit.Problem) audit.Reason {
	switch len(p) {
	case 0:
		return ""
	case 1:
		return p[0].Reason
	default:
		return "several"
	}
}

func TestP9_VerifyTrustsOnlyTheGivenKey(t *testing.T) {
	w, forger := filled(t, 20), filled(t, 20)
	dir := forger.export()
	if r, err := audit.Verify(dir, audit.VerifyOptions{}); err != nil || !r.OK() || r.KeyGiven {
		t.Fatalf("an export vouches for itself, and the report says so: %+v %v", r, err)
	}
	if r := w.verify(dir); r.OK() || r.Problems[0].Reason != audit.ReasonSignature {
		t.Fatal(describe(r))
	}
	if r := w.verify(w.export(), forger.checkpoint()); only(r.Problems) != audit.ReasonSignature {
		t.Fatalf("a kept checkpoint of another: %s", describe(r))
	}
	if _, err := audit.Verify(dir, audit.VerifyOptions{Key: "x"}); err == nil {
		t.Error("a key that is none was taken")
	}
	if _, err := audit.Verify(dir+"/none", audit.VerifyOptions{}); err == nil {
		t.Error("no folder was verified")
	}
	if err := audit.Export(t.Context(), dir, audit.ExportConfig{Source: w, Key: w.key, Checkpoint: w.checkpoint()}); err == nil {
		t.Error("an export was written over another")
	}
}

func TestP9_AnAnchoredSegmentThatBreaksTheChainIsNamed(t *testing.T) {
	w := newWorld(t)
	w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolA})
	w.ship(spoolA)
	s := w.spools[spoolA]
	// The second segment is anchored as it is, but follows another history.
	frame := mustFrame(t, audit.Hash{9}, mustEncode(t, w.record(audit.TypeActionDeniedCount, 2, audit.DeniedCount{})))
	s.starts, s.frames = append(s.starts, len(s.frames)), append(s.frames, frame...)
	payload := frame[8:]
	anchor := audit.Anchor{Spool: spoolA, First: 2, Last: 2, Root: audit.Hash(tlog.RecordHash(payload)), ChainHead: audit.SHA256(payload)}
	w.leaf(audit.TypeSegmentAnchored, anchor)
	r := w.verify(w.export())
	if only(r.Problems) != audit.ReasonChain || first(r).First != 2 {
		t.Fatal(describe(r))
	}
	anchor.ChainHead[0]++
	w.Memory.Leaves, w.Memory.Hashes = w.Memory.Leaves[:1], w.Memory.Hashes[:1]
	w.leaf(audit.TypeSegmentAnchored, anchor)
	if r = w.verify(w.export()); only(r.Problems) != audit.ReasonChain || first(r).First != 2 {
		t.Fatal(describe(r))
	}
}

func TestVerifyNamesLeavesOfAnotherForm(t *testing.T) {
	for name, leaf := range map[string][]byte{
		"no record":        []byte("not JSON"),
		"another seq":      []byte(loginText),
		"a spool's record": mustEncode(t, audit.Record{ID: recordID(1), Type: audit.TypeSpoolStarted, Time: start(), Node: "n", Seq: 3}),
	} {
		w := newWorld(t)
		for range 3 {
			w.leaf(audit.TypeLogin, nil)
		}
		hashes, err := tlog.StoredHashes(3, leaf, tlog.HashReaderFunc(func(i []int64) ([]tlog.Hash, error) { return w.ReadHashes(t.Context(), i) }))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.AppendLeaf(t.Context(), 3, leaf, hashes); err != nil {
			t.Fatal(err)
		}
		if r := w.verify(w.export()); only(r.Problems) != audit.ReasonForm || first(r).First != 3 {
			t.Errorf("%s: %s", name, describe(r))
		}
	}
}

func (w *world) observes(app string, until time.Time) {
	o := audit.ObservedApp{App: app}
	if !until.IsZero() {
		o.Until = audit.At(until)
	}
	w.leaf(audit.TypePolicyApplied, map[string]any{"observed": []audit.ObservedApp{o}})
}

func observed(action, under, code string) audit.Observed {
	return audit.Observed{Grant: under, Code: code, Try: intent(action, "", "money").Try}
}
