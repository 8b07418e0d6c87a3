package feed_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

// disbelieving is a sink to which no Pong continues the record.
type disbelieving struct {
	memory
	named []byte
}

func (d *disbelieving) Describe(p *feed.Ping) {
	p.CheckpointSize, p.Checkpoint, p.Doubt = 7, []byte("seven"), "another record"
}

func (d *disbelieving) Extends(named []byte, p *feed.Pong) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.named = named
	return errors.New("another record")
}

// A Pong that does not continue the record counts for nothing: no lease, and no step
// of the position. The instance says so, and goes on asking.
func TestP9_APongOfAnotherRecordMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Put("stripe", someGrant("g"))
		w := feedtest.Serve(t, src, sidecar)
		d := &disbelieving{}
		runSink(t, fixed(w), &d.memory, d)
		settle(2 * time.Second)
		at, _ := d.Position()
		src.Put("billing", someGrant("theirs")) // a step that is told by the Pong alone
		w.Server.Wake()
		settle(20 * time.Second)
		if now, _ := d.Position(); now != at || d.renewals() != 0 {
			t.Fatalf("%d renewals, and the position moved from %v to %v", d.renewals(), at, now)
		}
		if string(d.named) != "seven" {
			t.Errorf("judged by %q, not by what the ping named", d.named)
		}
		joins := src.Joins()
		if last := joins[len(joins)-1]; len(joins) < 2 || string(last.GetCheckpoint()) != "seven" || last.GetDoubt() != "another record" {
			t.Errorf("%d subscriptions, the last %v", len(joins), last)
		}
	})
}
