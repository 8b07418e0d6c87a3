package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mayflyproxy/mayfly/grant"
)

// maxWatched bounds what one Watch remembers between two looks. Beyond it only
// that much has changed.
const maxWatched = 256

// Watch gathers the ids of what commits of this process have changed: requests,
// grants, sessions. It is safe for concurrent use.
type Watch struct {
	all  *watches
	rung chan struct{}

	mu   sync.Mutex
	ids  map[string]bool
	many bool
}

// watches are those that are open. The zero value is ready.
type watches struct {
	mu   sync.Mutex
	open map[*Watch]bool
}

// Watch returns a Watch of everything that is committed from now on. Whoever
// opened it calls Stop.
func (s *Service) Watch() *Watch {
	w := &Watch{all: &s.watches, rung: make(chan struct{}, 1), ids: map[string]bool{}}
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if s.watches.open == nil {
		s.watches.open = map[*Watch]bool{}
	}
	s.watches.open[w] = true
	return w
}

// Stop closes the Watch; it hears no more.
func (w *Watch) Stop() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	delete(w.all.open, w)
}

// Rung returns a channel that holds a value while there is something to Take.
func (w *Watch) Rung() <-chan struct{} { return w.rung }

// Take returns what has changed since it was last called. many is true if that
// was too much to remember: ids are then only some.
func (w *Watch) Take() (ids []string, many bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.rung:
	default:
	}
	for id := range w.ids {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	many = w.many
	w.ids, w.many = map[string]bool{}, false
	return ids, many
}

// tell tells every open Watch of a commit.
func (all *watches) tell(ids map[string]bool) {
	if len(ids) == 0 {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for w := range all.open {
		w.hear(ids)
	}
}

func (w *Watch) hear(ids map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range ids {
		if len(w.ids) >= maxWatched {
			w.many = true
			break
		}
		w.ids[id] = true
	}
	select {
	case w.rung <- struct{}{}:
	default:
	}
}

// Concerns reports whether the caller may see any of these requests and grants:
// whether what has changed may stand on one of their pages.
func (s *Service) Concerns(ctx context.Context, c Caller, ids []string) (bool, error) {
	var out bool
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		out = false
		for _, id := range ids {
			if out, err = v.sees(ctx, tx, id); err != nil || out {
				return err
			}
		}
		return nil
	})
	return out, err
}

// sees reports whether the viewer may see the request or grant of that id. An id
// of anything else is nobody's.
func (v *viewer) sees(ctx context.Context, tx Tx, id string) (bool, error) {
	var request grant.RequestID
	switch prefix, _, _ := strings.Cut(id, "_"); prefix {
	case "req":
		if request.UnmarshalText([]byte(id)) != nil {
			return false, nil
		}
	case "grt":
		granted, err := parseGrantID(id)
		if err != nil {
			return false, nil
		}
		g, err := tx.Grants().Get(ctx, granted)
		if err != nil {
			return false, unlessMissing(err)
		}
		if v.mayGrant(g) == nil {
			return true, nil
		}
		request = g.Request // an approver's page shows the grant that came of it
	default:
		return false, nil
	}
	r, err := tx.Requests().Get(ctx, request)
	if err != nil {
		return false, unlessMissing(err)
	}
	err = v.mayRequest(ctx, tx, r)
	switch CodeOf(err) {
	case "":
		return true, nil
	case CodeInternal:
		return false, fmt.Errorf("request %s: %w", id, err)
	default:
		return false, nil
	}
}

func unlessMissing(err error) error {
	if missing(err, "") != err {
		return nil
	}
	return err
}
