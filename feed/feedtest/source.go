// Package feedtest has a control plane in memory for tests of the feed: a Source
// that behaves, with faults that a test switches on, and a server of it without a
// network. It owns no test of its own and no rule of the feed.
package feedtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
)

// Source keeps what it was told in memory. Its fields are set before it is
// used; its methods are safe for concurrent use.
type Source struct {
	// Now is the control plane's clock. Required.
	Now func() time.Time

	mu       sync.Mutex
	before   func(ctx context.Context, method string) error
	apps     map[string][]string // by sidecar
	at       feed.Position
	items    []item
	changes  []feed.Change
	dropped  feed.Position // changes up to here are not kept
	receipts []feed.Receipt
	refusals []feed.Refusal
	beats    [][]feed.Beat
	present  map[feed.Instance]int
	joins    []*feed.Subscribe
	codes    map[string]handOver // by code
	ended    map[string]bool     // by app and hash
	book     *feed.Book
	strayed  map[feed.Instance][]string // apps that differ
	stray    []Stray
}

// Stray is what was found once of an instance: what it holds of apps is not, or no
// apps: again is, what it was told.
type Stray struct {
	At       time.Time
	Instance feed.Instance
	Apps     []string
}

type item struct {
	app string
	r   *feed.Resource
}

// NewSource returns an empty control plane at revision 1 of epoch 1.
func NewSource(now func() time.Time) *Source {
	return &Source{Now: now, apps: map[string][]string{}, at: feed.Position{Epoch: 1, Revision: 1}, present: map[feed.Instance]int{},
		codes: map[string]handOver{}, ended: map[string]bool{}, strayed: map[feed.Instance][]string{},
		book: feed.NewBook(feed.Position{Epoch: 1, Revision: 1})}
}

var _ feed.Source = (*Source)(nil)

// Front says which apps a sidecar fronts.
func (s *Source) Front(sidecar string, apps ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[sidecar] = slices.Sorted(slices.Values(apps))
}

// Put commits one change that puts resources of an app in.
func (s *Source) Put(app string, resources ...*feed.Resource) feed.Position {
	return s.commit(app, resources, nil)
}

// Remove commits one change that removes grants of an app.
func (s *Source) Remove(app, reason string, ids ...string) feed.Position {
	var removals []*feed.Removal
	for _, id := range ids {
		removals = append(removals, &feed.Removal{Kind: feed.KindGrant, Id: id, Reason: reason, AtUs: s.Now().UnixMicro()})
	}
	return s.commit(app, nil, removals)
}

// Rejoin commits a change that concerns every instance.
func (s *Source) Rejoin() feed.Position { return s.commit("", nil, nil) }

func (s *Source) commit(app string, resources []*feed.Resource, removals []*feed.Removal) feed.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at.Revision += 2
	gone := map[string]bool{}
	for _, r := range resources {
		gone[r.GetId()] = true
	}
	for _, r := range removals {
		gone[r.GetId()] = true
	}
	s.items = slices.DeleteFunc(s.items, func(i item) bool { return gone[i.r.GetId()] })
	for _, r := range resources {
		s.items = append(s.items, item{app, r})
	}
	c := feed.Change{At: s.at, App: app, Resources: resources, Removals: removals}
	s.changes = append(s.changes, c)
	s.book.Apply(c)
	return s.at
}

// Forget drops the changes kept so far, so that an instance behind them needs a
// snapshot.
func (s *Source) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes, s.dropped = nil, s.at
}

// Rewind puts the head back, as a database restored from a backup would.
func (s *Source) Rewind(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at.Revision = revision
	s.changes = slices.DeleteFunc(s.changes, func(c feed.Change) bool { return c.At.Revision > revision })
}

// At returns the head.
func (s *Source) At() feed.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// Receipts returns what was acknowledged, in order.
func (s *Source) Receipts() []feed.Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.receipts)
}

// Acked returns the highest position that an instance acknowledged.
func (s *Source) Acked(i feed.Instance) (at feed.Position) {
	for _, r := range s.Receipts() {
		if r.Instance == i && at.Before(r.At) {
			at = r.At
		}
	}
	return at
}

// Refusals returns the NACKs, in order.
func (s *Source) Refusals() []feed.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refusals)
}

// Beats returns the batches that were stored, in order.
func (s *Source) Beats() [][]feed.Beat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.beats)
}

// Joins returns the subscriptions that were admitted, in order.
func (s *Source) Joins() []*feed.Subscribe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.joins)
}

// Present reports whether an instance has joined and not left.
func (s *Source) Present(i feed.Instance) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present[i] > 0
}

// Intercept has before called with the name of each method first; its error is the
// method's. It may block until ctx ends, and be set while the Source is used.
func (s *Source) Intercept(before func(ctx context.Context, method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *Source) begin(ctx context.Context, method string) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, method)
}

// Join implements feed.Source.
func (s *Source) Join(ctx context.Context, i feed.Instance, sub *feed.Subscribe) ([]string, error) {
	if err := s.begin(ctx, "Join"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	apps, ok := s.apps[i.Sidecar]
	if !ok {
		return nil, errors.New("no node of this name")
	}
	s.present[i] = 1
	s.joins = append(s.joins, sub)
	return apps, nil
}

// Leave implements feed.Source.
func (s *Source) Leave(_ context.Context, i feed.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.present, i)
}

// Snapshot implements feed.Source: in two parts, intercepted again in between.
func (s *Source) Snapshot(ctx context.Context, apps []string, part func(feed.Position, []*feed.Resource) error) error {
	if err := s.begin(ctx, "Snapshot"); err != nil {
		return err
	}
	s.mu.Lock()
	at, out := s.at, []*feed.Resource{}
	for _, i := range s.items {
		if slices.Contains(apps, i.app) {
			out = append(out, i.r)
		}
	}
	s.mu.Unlock()
	if len(apps) == 0 {
		return part(at, nil)
	}
	if err := part(at, out[:len(out)/2]); err != nil {
		return err
	}
	if err := s.begin(ctx, "Snapshot, second half"); err != nil {
		return err
	}
	return part(at, out[len(out)/2:])
}

// Changes implements feed.Source.
func (s *Source) Changes(ctx context.Context, after, upto feed.Position) ([]feed.Change, bool, error) {
	if err := s.begin(ctx, "Changes"); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if after.Before(s.dropped) {
		return nil, false, nil
	}
	var out []feed.Change
	for _, c := range s.changes {
		if after.Before(c.At) && !upto.Before(c.At) {
			out = append(out, c)
		}
	}
	return out, true, nil
}

// Beat implements feed.Source.
func (s *Source) Beat(ctx context.Context, beats []feed.Beat) (feed.Pulse, error) {
	if err := s.begin(ctx, "Beat"); err != nil {
		return feed.Pulse{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = append(s.beats, beats)
	out := feed.Pulse{Head: s.at, Time: s.Now(), Checkpoint: []byte("checkpoint"), Silent: map[feed.Instance]bool{}, Resync: map[feed.Instance]string{}}
	for _, b := range beats {
		s.judge(b, &out)
	}
	return out, nil
}

// judge keeps an instance whose digests differ without Pongs until they are equal, and
// has it take one snapshot.
func (s *Source) judge(b feed.Beat, out *feed.Pulse) {
	o, apps := s.book.Judge(b.Ping, s.apps[b.Instance.Sidecar])
	_, was := s.strayed[b.Instance]
	switch {
	case o == feed.Different && !was:
		s.strayed[b.Instance], out.Resync[b.Instance] = apps, "what is held is not what was told"
		s.stray = append(s.stray, Stray{s.Now(), b.Instance, apps})
	case o == feed.Equal && was:
		delete(s.strayed, b.Instance)
		s.stray = append(s.stray, Stray{s.Now(), b.Instance, nil})
	}
	if _, now := s.strayed[b.Instance]; now {
		out.Silent[b.Instance] = true
	}
}

// Strayed returns what was found of the digests of instances, in order.
func (s *Source) Strayed() []Stray {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stray)
}

// Acknowledge implements feed.Source.
func (s *Source) Acknowledge(ctx context.Context, receipts []feed.Receipt) error {
	if err := s.begin(ctx, "Acknowledge"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receipts = append(s.receipts, receipts...)
	return nil
}

// Refused implements feed.Source.
func (s *Source) Refused(ctx context.Context, r feed.Refusal) error {
	if err := s.begin(ctx, "Refused"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, r)
	return nil
}

// Ingest implements feed.Source: it accepts everything.
func (s *Source) Ingest(ctx context.Context, _ feed.Instance, r *feed.IngestRequest) (*feed.IngestResponse, error) {
	if err := s.begin(ctx, "Ingest"); err != nil {
		return nil, err
	}
	return &feed.IngestResponse{Accepted: true, NextSeq: r.GetLast() + 1, ChainHead: r.GetChainHead()}, nil
}

// Reserve implements feed.Source: it accepts everything.
func (s *Source) Reserve(ctx context.Context, _ feed.Instance, _ *feed.ReserveRequest) (*feed.ReserveResponse, error) {
	if err := s.begin(ctx, "Reserve"); err != nil {
		return nil, err
	}
	return &feed.ReserveResponse{Result: feed.ReserveResponse_OK}, nil
}
