package oauth

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// maxHeld is how many JWT-SVIDs are remembered at a time.
const maxHeld = 1 << 16

type holding uint8

const (
	byAnother holding = iota // the zero value refuses
	noRoom
	held
)

// holders remembers until its end by whom each JWT-SVID was shown first: it may be
// shown again, and by nobody else. None is forgotten to make room, since whoever has
// stolen one could see to that; there is no room then.
type holders struct {
	mu   sync.Mutex
	room int
	by   map[[sha256.Size]byte]holder
}

type holder struct {
	presenter [sha256.Size]byte
	ends      time.Time
}

func newHolders(room int) *holders {
	return &holders{room: room, by: map[[sha256.Size]byte]holder{}}
}

// take notes that presenter shows a verified JWT-SVID, which counts until ends. Only
// what was signed tells SVIDs apart: an ECDSA signature has a second form that anybody
// can make of the first.
func (h *holders) take(token string, presenter [sha256.Size]byte, ends, now time.Time) holding {
	id := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')+1]))
	h.mu.Lock()
	defer h.mu.Unlock()
	if first, ok := h.by[id]; ok {
		if first.presenter != presenter {
			return byAnother
		}
		return held
	}
	if len(h.by) >= h.room {
		h.forget(now)
	}
	if len(h.by) >= h.room {
		return noRoom
	}
	h.by[id] = holder{presenter: presenter, ends: ends}
	return held
}

// forget drops what proves nothing any more.
func (h *holders) forget(now time.Time) {
	for id, one := range h.by {
		if now.After(one.ends) {
			delete(h.by, id)
		}
	}
}
