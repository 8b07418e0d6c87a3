package audit

import (
	"fmt"
	"slices"
)

// Report is what Verify found.
type Report struct {
	Checkpoint Checkpoint `json:"checkpoint"` // of the export; zero if its signature does not hold
	KeyGiven   bool       `json:"key_given"`  // false: the export vouches for its own key, so anybody can have signed it
	Leaves     int64      `json:"leaves"`     // as found
	Segments   int        `json:"segments"`   // anchored
	Frames     int        `json:"frames"`     // good ones
	Actions    int        `json:"actions"`    // intents among them
	Observed   int        `json:"observed"`   // among them requests that passed undecided, on apps in observe mode

	// Problems are what is wrong; none means that the record holds.
	Problems []Problem `json:"problems"`
	// Nodes are the gateways whose checkpoints were given.
	Nodes []NodeReport `json:"nodes,omitempty"`
	// Notes are no problems: intents without an outcome yet, reservations whose
	// segment is not anchored yet, intents after their grant was ended by hand.
	Notes []Problem `json:"notes"`
	// Unchecked says which checks could not be made because of the Problems.
	Unchecked []string `json:"unchecked,omitempty"`
}

// NodeReport says whether the record continues what a gateway keeps.
type NodeReport struct {
	Node    string `json:"node"`
	Size    int64  `json:"size,string"`       // of its checkpoint
	Problem string `json:"problem,omitempty"` // empty: it does
}

// OK reports whether the record holds, and continues what gateways keep.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Nodes, func(n NodeReport) bool { return n.Problem != "" })
}

// Problem is one thing that Verify has to say about one place.
type Problem struct {
	Place  Place  `json:"place"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
}

// String returns a line for people.
func (p Problem) String() string {
	switch {
	case p.Reason == ReasonMissing && p.Place.First == p.Place.Last:
		return fmt.Sprintf("%s is missing: %s", p.Place, p.Detail)
	case p.Reason == ReasonMissing:
		return fmt.Sprintf("%s are missing: %s", p.Place, p.Detail)
	default:
		return fmt.Sprintf("%s: %s: %s", p.Place, p.Reason, p.Detail)
	}
}

// Place says where: entries of the control log, frames of a spool, or a file.
type Place struct {
	File  string `json:"file,omitempty"`  // in the export
	Spool string `json:"spool,omitempty"` // if First and Last are seqs of a spool
	First int64  `json:"first"`           // leaf index, or seq; -1 if the place is the file
	Last  int64  `json:"last"`            // included
}

// String returns the place for people.
func (p Place) String() string {
	noun, nouns := "entry", "entries"
	if p.Spool != "" {
		noun, nouns = "spool "+p.Spool+" seq", "spool "+p.Spool+" seqs"
	}
	switch {
	case p.First < 0:
		return p.File
	case p.First == p.Last:
		return fmt.Sprintf("%s %d", noun, p.First)
	default:
		return fmt.Sprintf("%s %d..%d", nouns, p.First, p.Last)
	}
}

func filePlace(name string) Place { return Place{File: name, First: -1, Last: -1} }

func leafPlace(first, last int64) Place {
	return Place{File: leavesFile(first-first%leavesPerFile, leavesExt), First: first, Last: last}
}

func framePlace(spool string, first, last uint64) Place {
	return Place{File: spoolFile(spool, framesExt), Spool: spool, First: int64(first), Last: int64(last)}
}

// Reason is the kind of a Problem.
type Reason string

// The reasons of problems.
const (
	ReasonFile        Reason = "file"        // cannot be read, or does not belong here
	ReasonSignature   Reason = "signature"   // the checkpoint or its key
	ReasonChanged     Reason = "changed"     // not the entry that was signed or anchored
	ReasonMissing     Reason = "missing"     // signed or anchored, and not here
	ReasonExtra       Reason = "extra"       // here, and not signed or anchored
	ReasonDuplicate   Reason = "duplicate"   // here twice
	ReasonOrder       Reason = "order"       // not at its place
	ReasonDiverged    Reason = "diverged"    // not the history of a kept checkpoint
	ReasonIndex       Reason = "index"       // a .hashes file is damaged, the entry is not
	ReasonForm        Reason = "form"        // no record, or not one that belongs here
	ReasonChain       Reason = "chain"       // the links between frames
	ReasonAnchor      Reason = "anchor"      // an anchor that does not continue its spool
	ReasonIntent      Reason = "intent"      // an outcome without intent, or an action twice
	ReasonReservation Reason = "reservation" // intent and acknowledgement do not pair
	ReasonGrant       Reason = "grant"       // an intent outside its grant's time
	ReasonObserved    Reason = "observed"    // passed undecided, and should not have, or was handled as if it had been decided
	ReasonOpen        Reason = "open"        // note: no outcome yet
	ReasonPending     Reason = "pending"     // note: reserved, and its segment is not anchored yet
	ReasonAfterEnd    Reason = "after_end"   // note: later than the leaf that ended the grant
)
