package proxy

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

const recheckEvery = time.Second

// Run looks at a tenth of the table each second, until ctx ends: whether what
// decisions read is still what the feed told. If not, mayflyd is told with the next
// Ping, which puts this gateway in quarantine until it has taken a snapshot
// (contracts §2). It holds up no decision and no change.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for tenth := 0; ; tenth = (tenth + 1) % tenths {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.recheck(tenth)
		}
	}
}

// recheck looks at one tenth. What a change took out meanwhile left the tally wrong
// too, if it was wrong: the tallies of a state are those of what it holds.
func (t *Table) recheck(tenth int) {
	s := t.state.Load()
	if !s.filled || s.intact(tenth) {
		return
	}
	t.writing.Lock()
	fresh := t.state.Load().filling != s.filling // a snapshot took its place
	if !fresh {
		fresh = t.strayed.Swap(true)
	}
	t.writing.Unlock()
	if !fresh {
		t.raise(Alarm{At: t.clock.Now(), Reason: grant.Stale, Text: "what the gateway holds is no longer what it was told: it asks for all of it again"})
	}
}

// digests fills in what a Ping tells of the table.
func (t *Table) digests(p *feed.Ping) {
	s := t.state.Load()
	if !s.filled || len(s.unheld) > maxUnheld {
		return
	}
	p.Digests = map[string][]byte{feed.Everyone: {}}
	strayed := t.strayed.Load()
	for app, tally := range s.tallies {
		switch sum := tally.sum(); {
		case strayed:
			p.Digests[app] = feed.Digest{}.Bytes()
		case sum != feed.Digest{}: // the client adds those of which nothing is held
			p.Digests[app] = sum.Bytes()
		}
	}
	for u := range s.unheld {
		p.Unheld = append(p.Unheld, &feed.Unheld{Kind: u.kind, Id: u.id})
	}
}
