package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	resyncEvery = 15 * time.Second // of one instance that is still not equal after a snapshot
	silentFor   = 5 * time.Second  // an instance that sent no Ping for so long is not counted
)

// digestBook judges the digests in Pings. The zero value is ready, and judges nothing
// before FillDigests has filled it.
type digestBook struct {
	mu       sync.Mutex
	book     *feed.Book // nil: to be filled
	apps     map[feed.Instance][]string
	old      map[feed.Instance]bool      // its last Ping was too old to judge
	resynced map[feed.Instance]time.Time // when it was last made to take a snapshot
	silenced map[feed.Instance]time.Time // when it last got no Pong for it
}

// instanceStrayed is the body of the leaves about what an instance holds.
type instanceStrayed struct {
	Instance string   `json:"instance"`
	Revision string   `json:"revision"`       // that it says is applied
	Apps     []string `json:"apps,omitempty"` // that differ; * are sessions and keys
}

// opinion is what the book says of one beat.
type opinion struct {
	of   feed.Opinion
	apps []string
}

// joined notes which apps an instance of this process fronts.
func (d *digestBook) joined(i feed.Instance, apps []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.apps == nil {
		d.apps, d.old = map[feed.Instance][]string{}, map[feed.Instance]bool{}
		d.resynced, d.silenced = map[feed.Instance]time.Time{}, map[feed.Instance]time.Time{}
	}
	d.apps[i] = slices.Compact(slices.Sorted(slices.Values(apps)))
}

// left forgets an instance whose stream is gone. That it is in quarantine is stored.
func (d *digestBook) left(i feed.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.apps, i)
	delete(d.old, i)
}

// judge compares beats with the book, which is brought up to date first.
func (s Source) judge(ctx context.Context, beats []feed.Beat) (map[feed.Instance]opinion, error) {
	d := &s.digests
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.book == nil {
		return nil, nil
	}
	changes, kept, err := s.Changes(ctx, d.book.At(), feed.Newest())
	if err != nil {
		return nil, err
	}
	if !kept || slices.ContainsFunc(changes, func(c feed.Change) bool { return c.App == everyApp }) {
		d.book = nil // every instance joins again, too
		return nil, nil
	}
	for _, c := range changes {
		d.book.Apply(c)
	}
	out := map[feed.Instance]opinion{}
	for _, b := range beats {
		if apps, ok := d.apps[b.Instance]; ok {
			var o opinion
			o.of, o.apps = d.book.Judge(b.Ping, apps)
			out[b.Instance] = o
		}
	}
	return out, nil
}

// resync names the instances that have to take a snapshot now: those that differ, at
// once and then every 15 s, and those that were too old twice in a row.
func (d *digestBook) resync(said map[feed.Instance]opinion, now time.Time) map[feed.Instance]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[feed.Instance]string{}
	for i, o := range said {
		switch last, again := d.resynced[i]; {
		case o.of == feed.Different && (!again || now.Sub(last) >= resyncEvery):
			d.resynced[i] = now
			out[i] = "what is held of " + strings.Join(o.apps, ", ") + " is not what was told: take a snapshot"
		case o.of == feed.TooOld && d.old[i]:
			out[i] = "what is held cannot be compared with what was told: take a snapshot"
		case o.of == feed.Equal:
			delete(d.resynced, i)
		}
		d.old[i] = o.of == feed.TooOld && out[i] == ""
	}
	maps.DeleteFunc(d.resynced, func(_ feed.Instance, at time.Time) bool { return now.Sub(at) > 2*resyncEvery })
	return out
}

// silence notes who gets no Pong because of its digests.
func (d *digestBook) silence(list []feed.Instance, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.silenced, func(_ feed.Instance, at time.Time) bool { return now.Sub(at) > silentFor })
	for _, i := range list {
		d.silenced[i] = now
	}
}

// Strayed counts the instances of this process that get no Pong because what they
// hold is not what they were told. It is for metrics.
func (s *Service) Strayed() int {
	s.digests.mu.Lock()
	defer s.digests.mu.Unlock()
	return len(s.digests.silenced)
}

// quarantine records which instances are no longer, or again, what they were told,
// and returns those that get no Pong. Who cannot be judged now stays as it was.
func (w *work) quarantine(ctx context.Context, beats []feed.Beat, said map[feed.Instance]opinion) ([]feed.Instance, error) {
	before, err := w.tx.Instances().Strayed(ctx)
	if err != nil {
		return nil, fmt.Errorf("strayed instances: %w", err)
	}
	var out []feed.Instance
	for _, b := range beats {
		was, o := slices.Contains(before, b.Instance), said[b.Instance]
		switch {
		case o.of == feed.Different && !was:
			err = w.stray(ctx, b, o.apps, audit.TypeInstanceQuarantined, w.now)
		case o.of == feed.Equal && was:
			err = w.stray(ctx, b, nil, audit.TypeInstanceReleased, time.Time{})
		}
		if err != nil {
			return nil, err
		}
		if o.of == feed.Different || was && o.of != feed.Equal {
			out = append(out, b.Instance)
		}
	}
	return out, nil
}

func (w *work) stray(ctx context.Context, b feed.Beat, apps []string, t audit.Type, since time.Time) error {
	if err := w.tx.Instances().SetStrayed(ctx, b.Instance, since, apps); err != nil {
		return fmt.Errorf("quarantine of %s: %w", b.Instance, err)
	}
	_, err := w.leaf(ctx, t, b.Instance.String(), instanceStrayed{
		Instance: b.Instance.String(), Revision: fmt.Sprint(b.Ping.GetRevision()), Apps: apps,
	})
	return err
}

// FillDigests fills the book of digests if that is needed: at the start, and after
// changes that the feed does not tell one by one. Call it each second. Until it is
// done no digest is judged.
func (s *Service) FillDigests(ctx context.Context) error {
	d := &s.digests
	d.mu.Lock()
	filled := d.book != nil
	d.mu.Unlock()
	if filled {
		return nil
	}
	book, err := s.digestsNow(ctx)
	if err != nil || book == nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.book = book
	return nil
}

// digestsNow reads what all instances together hold; nil before there is a policy.
func (s *Service) digestsNow(ctx context.Context) (*feed.Book, error) {
	var book *feed.Book
	err := s.store.View(ctx, func(tx Tx) error {
		book = nil
		at, err := tx.Head().Feed(ctx)
		if err != nil {
			return fmt.Errorf("head: %w", err)
		}
		set, err := s.inForce(ctx, tx)
		if CodeOf(err) == CodeNoPolicy {
			return nil
		}
		if err != nil {
			return err
		}
		b := feed.NewBook(at)
		for _, a := range set.Apps() {
			b.Load(a.Name, appResource(set, a, s.console))
			err := eachFed(ctx, tx, a.Name, func(g grant.Grant) error {
				b.Load(a.Name, grantResource(g, nil, ""))
				return nil
			})
			if err != nil {
				return err
			}
			sessions, err := liveSessions(ctx, tx, set, a, nil)
			if err != nil {
				return err
			}
			for _, r := range sessions {
				b.Load(a.Name, r)
			}
		}
		keys, err := s.keysTold(ctx, tx, nil)
		for _, r := range keys {
			b.Load(feed.Everyone, r)
		}
		book = b
		return err
	})
	if err != nil {
		return nil, err
	}
	return book, nil
}
