package proxy

import (
	"maps"

	"github.com/mayflyproxy/mayfly/feed"
)

// maxUnheld bounds how many refused resources a Ping names. A gateway that refuses
// more says nothing of its digests.
const maxUnheld = 1024

// unheld names a resource that was told and refused.
type unheld struct{ kind, id string }

// withhold notes that a resource was refused: no digest of this table counts it.
func (d *draft) withhold(n *feed.Nack) {
	if n.GetKind() == feed.KindProof {
		return // in nobody's digest
	}
	d.ownUnheld()
	d.unheld[unheld{n.GetKind(), n.GetId()}] = true
}

// allow forgets that one was refused: it was told anew, or removed.
func (d *draft) allow(kind, id string) {
	if d.unheld[unheld{kind, id}] {
		d.ownUnheld()
		delete(d.unheld, unheld{kind, id})
	}
	if d.unheld[unheld{"", id}] { // of a kind that this binary does not know
		d.ownUnheld()
		delete(d.unheld, unheld{"", id})
	}
}

func (d *draft) ownUnheld() {
	if d.denied {
		return
	}
	d.denied, d.unheld = true, maps.Clone(d.unheld)
	if d.unheld == nil {
		d.unheld = map[unheld]bool{}
	}
}
