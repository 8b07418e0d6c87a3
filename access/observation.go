package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
)

// ObservedUse is how often somebody did one thing on an app in observe mode, on one day.
type ObservedUse struct {
	App        string
	Name       string // of the caller, as the record has it: p_… or a SPIFFE ID
	Operation  string // "" one that nobody knows
	Code       string // that it would have been denied with; "": it would have been allowed
	Day        time.Time
	Last       time.Time
	Count      int64
	Attributes map[string]string // value, by name, of those that had one and the same each time; "": they had not
}

// observedKey is what one row is about.
type observedKey struct {
	app, name, operation, code string
	day                        int64 // µs
}

func (u ObservedUse) key() observedKey {
	return observedKey{u.App, u.Name, u.Operation, u.Code, u.Day.UnixMicro()}
}

// Join adds what else was seen of the same.
func (u ObservedUse) Join(o ObservedUse) ObservedUse {
	if u.Count == 0 {
		return o
	}
	out := u
	out.Count = u.Count + o.Count
	if o.Last.After(u.Last) {
		out.Last = o.Last
	}
	out.Attributes = map[string]string{}
	for _, side := range []map[string]string{u.Attributes, o.Attributes} {
		for name := range side {
			if a, ok := u.Attributes[name]; ok && a == o.Attributes[name] {
				out.Attributes[name] = a
			} else {
				out.Attributes[name] = ""
			}
		}
	}
	return out
}

// observedOf reads one record of a spool.
func observedOf(b audit.Observed, at time.Time) ObservedUse {
	u := ObservedUse{App: b.App, Name: b.Principal, Operation: b.Operation, Code: b.Code, Day: at.UTC().Truncate(24 * time.Hour), Last: at, Count: 1, Attributes: map[string]string{}}
	for name, a := range b.Attributes {
		u.Attributes[name] = a.Value // none of one that the record does not keep
	}
	return u
}

// observedFor is how long it is remembered what was observed.
const observedFor = 90 * 24 * time.Hour

// ObservedStore keeps what was done on apps in observe mode.
type ObservedStore interface {
	// Add joins uses with those that are there, one of a key; new rows are taken up to a
	// bound. What is of a day before forget is forgotten.
	Add(ctx context.Context, uses []ObservedUse, forget time.Time) error
	// Since lists those of an app ("" is all) from a day on, up to a bound, by app, name,
	// operation, code, day.
	Since(ctx context.Context, app string, from time.Time) ([]ObservedUse, error)
}

// noteObserved stores what segments tell. A gateway's clock tells nothing of the future.
func (w *work) noteObserved(ctx context.Context, seen map[observedKey]ObservedUse) error {
	if len(seen) == 0 {
		return nil
	}
	uses := map[observedKey]ObservedUse{}
	for _, u := range seen {
		u.Last = earlier(u.Last, w.now)
		u.Day = earlier(u.Day, w.now.UTC().Truncate(24*time.Hour))
		uses[u.key()] = uses[u.key()].Join(u)
	}
	list := make([]ObservedUse, 0, len(uses))
	for _, u := range uses {
		list = append(list, u)
	}
	if err := w.tx.Observed().Add(ctx, list, w.now.Add(-observedFor)); err != nil {
		return fmt.Errorf("what was observed: %w", err)
	}
	return nil
}
