package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// nodeName is how mayflyd names itself in its records.
const nodeName = "mayflyd"

// work is one verb's transaction under way: what it changes on the feed is
// gathered and written last, when the log's size is the revision.
type work struct {
	*Service
	tx          Tx
	now         time.Time
	deltas      map[string]*feed.Delta // by app
	revocations []Revocation           // whose position is not known yet
	ended       map[grant.GrantID]bool // by this change
	settled     []Revocation           // that nobody is awaited for any more, since this transaction
	names       map[identity.Principal]string
	touched     map[string]bool // ids of what a Watch is told of
	spans       *spans
}

// update runs one verb in one write transaction. Segments that arrived together make way
// for it, once. f may run more than once; only its last run counts.
func (s *Service) update(ctx context.Context, f func(*work) error) error {
	s.verbs.Add(1)
	begun := sync.OnceFunc(func() { s.verbs.Add(-1) })
	defer begun()
	return s.change(ctx, func(w *work) error {
		begun()
		return f(w)
	})
}

// change makes one write transaction. After its commit the feed is woken if what
// instances hold has changed.
func (s *Service) change(ctx context.Context, f func(*work) error) error {
	var changed bool
	var settled []Revocation
	var touched map[string]bool
	var traced *spans
	err := s.store.Update(ctx, func(tx Tx) error {
		touched, traced = map[string]bool{}, &spans{tracer: s.traces, began: s.traces.Now()}
		w := &work{
			Service: s, tx: tx, now: tx.Now(), deltas: map[string]*feed.Delta{}, names: map[identity.Principal]string{}, ended: map[grant.GrantID]bool{}, touched: touched, spans: traced,
		}
		if err := f(w); err != nil {
			return err
		}
		changed, settled = len(w.deltas) > 0, w.settled
		return w.publish(ctx)
	})
	if err != nil {
		return err
	}
	if changed {
		s.wake()
	}
	s.watches.tell(touched)
	s.measure(settled)
	traced.committed()
	return nil
}

// updateInLine is update for what gateways cause by themselves, however many they are: one
// of these changes at a time has the writer or waits for it, so that no verb waits for
// more than one of them.
func (s *Service) updateInLine(ctx context.Context, f func(*work) error) error {
	select {
	case s.line <- struct{}{}:
		defer func() { <-s.line }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", ctx.Err())
	}
	return s.change(ctx, f)
}

// touch has every Watch told of id once this is committed.
func (w *work) touch(id string) { w.touched[id] = true }

// leaf appends one leaf, finds it again under each of ids, and returns its index.
func (w *work) leaf(ctx context.Context, t audit.Type, subject string, body any, ids ...string) (int64, error) {
	index, err := audit.Append(ctx, w.tx.Log(), audit.Record{
		ID: w.minter.NewRecordID(w.now).String(), Type: t, Time: w.now, Node: nodeName, Subject: subject, Body: body,
	})
	if err != nil {
		return 0, err
	}
	w.trace(ctx, t, body)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id == "" {
			continue
		}
		if err := w.tx.Spools().Index(ctx, id, index); err != nil {
			return 0, fmt.Errorf("index %s: %w", id, err)
		}
	}
	return index, nil
}

// tell puts an event into the outbox.
func (w *work) tell(ctx context.Context, kind, id string) error {
	w.touch(id)
	return w.tx.Outbox().Put(ctx, Event{Kind: kind, ID: id, At: w.now})
}

// pseudonym returns how p stands in the record, and makes it the first time.
func (w *work) pseudonym(ctx context.Context, p identity.Principal) (string, error) {
	if name, ok := w.names[p]; ok {
		return name, nil
	}
	key, err := w.personKey(ctx, p)
	if err != nil {
		return "", err
	}
	name := audit.Pseudonym(key, p.String())
	w.names[p] = name
	return name, nil
}

// personKey returns the key of p, and makes it and its pseudonym the first time.
func (w *work) personKey(ctx context.Context, p identity.Principal) (audit.PersonKey, error) {
	fresh := false
	raw, err := w.tx.Persons().Key(ctx, p, func() []byte {
		fresh = true
		return audit.NewPersonKey().Reveal()
	})
	if err != nil {
		return audit.PersonKey{}, fmt.Errorf("person key: %w", err)
	}
	key, err := audit.ParsePersonKey(raw)
	if err != nil || !fresh {
		return key, err
	}
	if err := w.tx.Persons().SetPseudonym(ctx, p, audit.Pseudonym(key, p.String())); err != nil {
		return audit.PersonKey{}, fmt.Errorf("pseudonym: %w", err)
	}
	return key, nil
}

// put puts a resource of an app on the feed.
func (w *work) put(app string, r *feed.Resource) {
	d := w.delta(app)
	d.Resources = append(d.Resources, r)
}

// remove takes a resource of an app off the feed.
func (w *work) remove(app string, kind string, id string, why string) {
	d := w.delta(app)
	d.Removals = append(d.Removals, &feed.Removal{Kind: kind, Id: id, Reason: why, AtUs: w.now.UnixMicro()})
}

func (w *work) delta(app string) *feed.Delta {
	d, ok := w.deltas[app]
	if !ok {
		d = &feed.Delta{}
		w.deltas[app] = d
	}
	return d
}

// publish writes what changed on the feed under the revision that the last leaf
// makes, and moves head.feed there (contracts §2).
func (w *work) publish(ctx context.Context) error {
	if len(w.deltas) == 0 {
		return nil
	}
	size, err := w.tx.Log().Size(ctx)
	if err != nil {
		return fmt.Errorf("revision: %w", err)
	}
	head, err := w.tx.Head().Feed(ctx)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	at := feed.Position{Epoch: head.Epoch, Revision: size}
	if !head.Before(at) {
		return fmt.Errorf("revision %d does not follow %d: a change without a leaf", at.Revision, head.Revision)
	}
	steps := w.steps(head, at)
	w.traceFeed(steps)
	if err := w.appendChanges(ctx, steps); err != nil {
		return err
	}
	for i := range w.revocations {
		r := &w.revocations[i]
		r.At = at
		if step, ok := steps[r.app]; ok {
			r.At = step
		}
		if err := w.tx.Revocations().Insert(ctx, *r); err != nil {
			return fmt.Errorf("revocation of %s: %w", r.Grant, err)
		}
	}
	return w.tx.Head().SetFeed(ctx, at)
}

// everyApp is the app of a change after which every instance joins again.
const everyApp = ""

// steps gives the change of each app its revision. One revision is one step for
// an instance: a verb whose changes count only together (a host that moves to
// another app) has every instance read the whole again. Grants and ends hold each
// alone: they take the last revisions before the verb's own, one an app, so that a
// logout or a bundle costs nobody a snapshot. There are enough: each has its leaf.
func (w *work) steps(head, last feed.Position) map[string]feed.Position {
	apps := slices.Sorted(maps.Keys(w.deltas))
	first := last.Revision - int64(len(apps)) + 1
	if len(apps) > 1 && (!w.eachAlone() || first <= head.Revision) {
		w.deltas = map[string]*feed.Delta{everyApp: {}}
		return map[string]feed.Position{everyApp: last}
	}
	out := map[string]feed.Position{}
	for i, app := range apps {
		out[app] = feed.Position{Epoch: last.Epoch, Revision: first + int64(i)}
	}
	return out
}

// eachAlone reports whether all that changed on the feed is that grants began, and that
// grants and sessions ended.
func (w *work) eachAlone() bool {
	for app, d := range w.deltas {
		noGrant := func(r *feed.Resource) bool { return r.GetGrant() == nil }
		isApp := func(r *feed.Removal) bool { return r.GetKind() == kindApp }
		if app == everyApp || slices.ContainsFunc(d.GetResources(), noGrant) || slices.ContainsFunc(d.GetRemovals(), isApp) {
			return false
		}
	}
	return true
}

func (w *work) appendChanges(ctx context.Context, steps map[string]feed.Position) error {
	for _, app := range slices.Sorted(maps.Keys(w.deltas)) {
		d, at := w.deltas[app], steps[app]
		d.Epoch, d.Revision = at.Epoch, at.Revision
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
		if err != nil {
			return fmt.Errorf("change of %s: %w", app, err)
		}
		if err := w.tx.Changes().Append(ctx, StoredChange{At: at, App: app, Body: body}); err != nil {
			return fmt.Errorf("change of %s: %w", app, err)
		}
	}
	return nil
}

// replay returns what an earlier call with the same key left, if there was one.
func (w *work) replay(ctx context.Context, p identity.Principal, route, key string, into any) (bool, error) {
	if key == "" {
		return false, nil
	}
	body, err := w.tx.Keys().Get(ctx, p, route, key, w.now)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("idempotency key: %w", err)
	}
	return true, json.Unmarshal(body, into)
}

// remember keeps what a repeated call is answered with.
func (w *work) remember(ctx context.Context, p identity.Principal, route, key string, answer any) error {
	if key == "" {
		return nil
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return w.tx.Keys().Put(ctx, p, route, key, body, w.now.Add(keyLife))
}

// keyLife is how long an Idempotency-Key answers the same (contracts §8).
const keyLife = 24 * time.Hour
