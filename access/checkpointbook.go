package access

import (
	"fmt"
	"maps"
	"sync"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// Keeps is the newest signed checkpoint that an instance keeps, in its own word.
type Keeps struct {
	Note  []byte // nil: it said none
	Size  int64
	Doubt string // why what it was shown of the record does not count for it; empty: it does
	// Ahead: it has seen more of the record than there is, and shows the signature.
	// This is an older copy of the database.
	Ahead bool

	here bool // it has a stream
}

func (k Keeps) wrong() bool { return k.Ahead || k.Doubt != "" }

// Words say what is wrong, to follow the name of the instance; "" if nothing is.
func (k Keeps) Words() string {
	switch {
	case k.Ahead && k.Doubt != "":
		return fmt.Sprintf("keeps a signed checkpoint of %d entries, more than there are: this database is an older copy. It says: %s", k.Size, k.Doubt)
	case k.Ahead:
		return fmt.Sprintf("keeps a signed checkpoint of %d entries, more than there are: this database is an older copy", k.Size)
	case k.Doubt != "":
		return "does not believe what it is shown of the record: " + k.Doubt
	default:
		return ""
	}
}

// maxNote bounds what is remembered of a note: ours have about 200 bytes.
const maxNote = 1 << 10

// checkpointBook remembers what instances keep. It is memory only: after a restart
// of mayflyd the next Pings fill it. The zero value is ready.
type checkpointBook struct {
	mu   sync.Mutex
	said map[feed.Instance]Keeps
}

// hearsay is what a Ping, or a subscription, tells of the record.
type hearsay struct {
	instance feed.Instance
	note     []byte
	doubt    string
}

// hear notes what an instance says beside a record of that size, signed by signer. It
// returns what is wrong there, if that is news.
func (b *checkpointBook) hear(s hearsay, signer *audit.Signer, size int64) (k Keeps, news bool) {
	k = Keeps{Doubt: clipLong(s.doubt), here: true}
	if c, err := audit.ParseNote(s.note); err == nil && len(s.note) <= maxNote {
		k.Note, k.Size = s.note, c.Size
		k.Ahead = c.Size > size && signer.Signed(s.note)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.said[s.instance]
	if b.said == nil {
		b.said = map[feed.Instance]Keeps{}
	}
	b.said[s.instance] = k
	return k, k.wrong() && (before.Ahead != k.Ahead || (before.Doubt == "") != (k.Doubt == ""))
}

// left notes that an instance has no stream any more. What it said stays.
func (b *checkpointBook) left(i feed.Instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k, ok := b.said[i]; ok {
		k.here = false
		b.said[i] = k
	}
}

// of returns what the instances say, and forgets all others.
func (b *checkpointBook) of(instances []Instance) map[feed.Instance]Keeps {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := map[feed.Instance]Keeps{}
	for _, i := range instances {
		if k, ok := b.said[i.ID]; ok {
			kept[i.ID] = k
		}
	}
	b.said = kept
	return maps.Clone(kept)
}

// doubting counts the instances with a stream that do not count what they are shown.
func (b *checkpointBook) doubting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, k := range b.said {
		if k.here && k.wrong() {
			n++
		}
	}
	return n
}
