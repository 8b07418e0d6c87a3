package proxytest

import (
	"context"
	"slices"
	"sync"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// Journal is a proxy.Journal in memory. Safe for concurrent use.
type Journal struct {
	// BeforeIntent, if set, runs before an intent is kept; an error refuses it.
	BeforeIntent func(ctx context.Context) error
	// Counting makes every denial one that is only counted.
	Counting bool

	// BeforeRebound, if set, runs before it is kept that a stream goes on; an error
	// refuses it.
	BeforeRebound func(ctx context.Context) error

	mu       sync.Mutex
	intents  []audit.Intent
	observed []audit.Observed
	rebounds []audit.Rebound
	durable  map[string]bool
	outcomes []audit.Outcome
	denied   []audit.Denied
	counted  map[grant.Reason]int
}

var _ proxy.Journal = (*Journal)(nil)

// Intent implements proxy.Journal.
func (j *Journal) Intent(ctx context.Context, i audit.Intent, durable bool) (proxy.Mark, error) {
	if j.BeforeIntent != nil {
		if err := j.BeforeIntent(ctx); err != nil {
			return proxy.Mark{}, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.durable == nil {
		j.durable = map[string]bool{}
	}
	j.intents = append(j.intents, i)
	j.durable[i.Action] = durable
	return proxy.Mark{Spool: "spl_01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: uint64(len(j.intents)), Frame: audit.SHA256([]byte(i.Action))}, nil
}

// Observed implements proxy.Journal. BeforeIntent is asked about it, too.
func (j *Journal) Observed(ctx context.Context, o audit.Observed, durable bool) error {
	if j.BeforeIntent != nil {
		if err := j.BeforeIntent(ctx); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.durable == nil {
		j.durable = map[string]bool{}
	}
	j.observed = append(j.observed, o)
	j.durable[o.Action] = durable
	return nil
}

// Observations returns what passed undecided so far.
func (j *Journal) Observations() []audit.Observed {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.observed)
}

// Outcome implements proxy.Journal.
func (j *Journal) Outcome(o audit.Outcome) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes = append(j.outcomes, o)
	return nil
}

// Rebound implements proxy.Journal.
func (j *Journal) Rebound(ctx context.Context, r audit.Rebound, _ bool) error {
	if j.BeforeRebound != nil {
		if err := j.BeforeRebound(ctx); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rebounds = append(j.rebounds, r)
	return nil
}

// Rebounds returns the streams that went on under another grant so far.
func (j *Journal) Rebounds() []audit.Rebound {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.rebounds)
}

// Denied implements proxy.Journal.
func (j *Journal) Denied(d audit.Denied) bool {
	if j.Counting {
		j.Count(grant.Reason(d.Code))
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.denied = append(j.denied, d)
	return true
}

// Count implements proxy.Journal.
func (j *Journal) Count(code grant.Reason) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.counted == nil {
		j.counted = map[grant.Reason]int{}
	}
	j.counted[code]++
}

// Intents returns the intents so far.
func (j *Journal) Intents() []audit.Intent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.intents)
}

// Durable reports whether an action's intent was asked to be durable.
func (j *Journal) Durable(action string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable[action]
}

// Outcomes returns the outcomes so far.
func (j *Journal) Outcomes() []audit.Outcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.outcomes)
}

// Denials returns the denials that are on record so far.
func (j *Journal) Denials() []audit.Denied {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.denied)
}

// Counted returns how many refusals were only counted, by reason.
func (j *Journal) Counted(code grant.Reason) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counted[code]
}
