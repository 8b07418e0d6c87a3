package feed_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

// slow is a stream by hand: what is sent waits until it may go.
type slow struct {
	grpc.ServerStream
	ctx  context.Context
	says chan *feed.SyncRequest
	free chan struct{}
	sent []*feed.SyncResponse
}

func (s *slow) Context() context.Context { return s.ctx }

func (s *slow) Recv() (*feed.SyncRequest, error) {
	select {
	case m := <-s.says:
		return m, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *slow) Send(m *feed.SyncResponse) error {
	<-s.free
	s.sent = append(s.sent, m)
	return nil
}

// A stream that ends because the instance must take all of it anew says nothing
// more: the Pong of the same beat would tell it that it knows what it was not told.
func TestP4_NoPongFollowsTheEndOfAStream(t *testing.T) {
	for range 20 { // a writer that was busy took either of two, by chance
		synctest.Test(t, func(t *testing.T) {
			src := newSource()
			src.Put("stripe", someGrant("g"))
			w := feedtest.Serve(t, src, sidecar)
			s := &slow{ctx: t.Context(), says: make(chan *feed.SyncRequest, 2), free: make(chan struct{}, 8)}
			s.says <- &feed.SyncRequest{Message: &feed.SyncRequest_Subscribe{Subscribe: subscribeAs(t, sidecar)}}
			s.free <- struct{}{} // the snapshot
			ended := make(chan error, 1)
			go func() { ended <- w.Server.Sync(s) }()
			synctest.Wait()
			src.Put("stripe", someGrant("h")) // the delta that keeps it busy
			w.Server.Wake()
			synctest.Wait()
			s.says <- &feed.SyncRequest{Message: &feed.SyncRequest_Ping{Ping: &feed.Ping{Nonce: "n"}}}
			src.Rejoin()
			settle(time.Second)
			close(s.free)
			if err := <-ended; status.Code(err) != codes.Aborted {
				t.Fatal(err)
			}
			settle(time.Second)
			for _, m := range s.sent {
				if m.GetPong() != nil {
					t.Fatal("the instance is told that it is complete, and was not told to join again")
				}
			}
		})
	}
}

// behind is a source whose reads see the state of a while ago, as those of a
// database that follows another one do. Its writes do not.
type behind struct {
	*feedtest.Source
	old atomic.Pointer[feedtest.Source] // nil: not behind
}

func (b *behind) Snapshot(ctx context.Context, apps []string, part func(feed.Position, []*feed.Resource) error) error {
	if old := b.old.Load(); old != nil {
		return old.Snapshot(ctx, apps, part)
	}
	return b.Source.Snapshot(ctx, apps, part)
}

func (b *behind) Changes(ctx context.Context, after, upto feed.Position) ([]feed.Change, bool, error) {
	old := b.old.Load()
	switch {
	case old == nil:
		return b.Source.Changes(ctx, after, upto)
	case upto != feed.Newest() && old.At().Before(upto):
		return nil, false, errors.New("not there yet")
	}
	return old.Changes(ctx, after, upto)
}

// What a snapshot lacks that is older than the changes that follow it, nobody would
// ever tell: there is no such snapshot.
func TestP4_ASnapshotIsNeverBehindTheChangesThatFollowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &behind{Source: newSource()}
		src.Put("stripe", someGrant("g"))
		w := feedtest.Serve(t, src, sidecar)
		first := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		old := newSource()
		old.Put("stripe", someGrant("g"))
		src.Remove("stripe", "revoked", "g")
		settle(2 * time.Second)
		src.old.Store(old)
		second := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		if first.sink.holds("g") || second.sink.holds("g") || second.sink.renewals() > 0 {
			t.Fatal("an instance was told the state of before, and that it is whole")
		}
		src.old.Store(nil)
		settle(3 * time.Second)
		if at, filled := second.sink.Position(); !filled || at != src.At() || second.sink.holds("g") {
			t.Fatalf("at %v (%v), want %v", at, filled, src.At())
		}
	})
}

// A mayflyd that nobody was at while changes were forgotten takes the next who comes.
func TestAnIdleReplicaTakesInstancesAfterChangesWereForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Intercept(func(ctx context.Context, _ string) error { return ctx.Err() }) // as databases do
		src.Put("stripe", someGrant("g"))
		w := feedtest.Serve(t, src, sidecar)
		ctx, leave := context.WithCancel(t.Context())
		stream, err := feed.NewFeedClient(w.Dial(t)).Sync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		send(t, stream, &feed.SyncRequest{Message: &feed.SyncRequest_Subscribe{Subscribe: subscribeAs(t, sidecar)}})
		receive(t, stream)
		leave()
		settle(time.Second)
		src.Put("stripe", someGrant("h"))
		src.Forget()
		r := run(t, fixed(w), &memory{})
		settle(3 * time.Second)
		if !r.sink.holds("h") || r.sink.renewals() == 0 {
			t.Fatal("three seconds later the instance has heard nothing")
		}
	})
}
