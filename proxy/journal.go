package proxy

import (
	"context"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// Mark is where an intent stands in the spool.
type Mark struct {
	Spool string // spl_ id
	Seq   uint64
	Frame audit.Hash // SHA-256 of the frame's payload
}

// Journal is the sidecar's record: the spool. Its methods are safe for
// concurrent use.
type Journal interface {
	// Intent writes an intent before the act: on disk, fsynced, when it returns if
	// durable, else written. An error means that the act does not happen: when ctx
	// ends, when i.Deadline has passed, when there is no room. Then either nothing
	// was written or the journal itself closes it as not_sent.
	Intent(ctx context.Context, i audit.Intent, durable bool) (Mark, error)
	// Observed writes, before the act, that a request passes which nobody decided about,
	// as Intent writes an intent. It has its own share of the room, and takes none of that
	// of intents.
	Observed(ctx context.Context, o audit.Observed, durable bool) error
	// Outcome takes what became of an intent. It waits for nothing, and has reserved
	// room: an outcome is lost only with the disk or the process, and is then
	// unknown.
	Outcome(o audit.Outcome) error
	// Rebound writes that a stream under way goes on under another grant: on disk,
	// fsynced, when it returns if durable, else written. An error means that it does not
	// go on: when ctx ends, when there is no room, when the action has its outcome.
	Rebound(ctx context.Context, r audit.Rebound, durable bool) error
	// Denied takes a refusal of an authenticated peer, to be written or counted
	// (contracts §5). It waits for nothing. recorded is false if it is only counted:
	// its id then leads nowhere.
	Denied(d audit.Denied) (recorded bool)
	// Count counts a refusal of a peer that proved nothing.
	Count(code grant.Reason)
}

// Reserver asks the control plane to acknowledge one intent of class money,
// secret or admin. nil is yes; a *grant.Denial says why not; any other error is
// no answer.
type Reserver interface {
	Reserve(ctx context.Context, a Action, class string, amount string, m Mark) error
}
