package feed_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

// whole receives a snapshot, and returns its position and how much is in it.
func whole(t *testing.T, s feed.Feed_SyncClient) (at feed.Position, resources int) {
	t.Helper()
	for {
		part := receive(t, s).GetSnapshot()
		if part == nil {
			t.Fatal("no snapshot")
		}
		resources += len(part.GetResources())
		if part.GetLast() {
			return feed.Position{Epoch: part.GetEpoch(), Revision: part.GetRevision()}, resources
		}
	}
}

// Many instances that come at once share a reading of the database, and none of
// them is shown one that began before it came.
func TestInstancesThatComeAtOnceShareOneReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource()
		var read atomic.Int32
		held := make(chan struct{})
		source.Intercept(func(_ context.Context, method string) error {
			if method == "Snapshot" {
				if read.Add(1) == 2 { // the first only read the position
					<-held
				}
			}
			return nil
		})
		source.Put("stripe", someGrant("grt_1"))
		w := feedtest.Serve(t, source, sidecar)
		first := open(t, w, subscribeAs(t, sidecar))
		synctest.Wait()
		committed := source.Put("stripe", someGrant("grt_2")) // while the first is being read
		var rest []feed.Feed_SyncClient
		for range 40 {
			rest = append(rest, open(t, w, subscribeAs(t, sidecar)))
		}
		synctest.Wait()
		close(held)
		whole(t, first)
		for _, s := range rest {
			if at, n := whole(t, s); at.Before(committed) || n != 2 {
				t.Fatalf("a snapshot of %d resources at %d, and %d was committed before the instance came", n, at.Revision, committed.Revision)
			}
		}
		if n := read.Load(); n != 3 {
			t.Errorf("the database was read %d times", n)
		}
	})
}

// A reading that fails is not everybody's failure for good: the next one serves.
func TestAFailedReadingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource()
		var read atomic.Int32
		source.Intercept(func(_ context.Context, method string) error {
			if method == "Snapshot" && read.Add(1) == 2 {
				return fmt.Errorf("the database is away")
			}
			return nil
		})
		source.Put("stripe", someGrant("grt_1"))
		sink := &memory{}
		run(t, fixed(feedtest.Serve(t, source, sidecar)), sink)
		settle(2 * time.Second)
		if !sink.holds("grt_1") {
			t.Error("the instance never got its snapshot")
		}
	})
}

// An instance is waited for while a large snapshot is being read, though no Pong
// comes before it.
func TestASnapshotThatTakesLongIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource()
		var read atomic.Int32
		source.Intercept(func(_ context.Context, method string) error {
			if method == "Snapshot" && read.Add(1) > 1 {
				<-time.After(20 * time.Second)
			}
			return nil
		})
		source.Put("stripe", someGrant("grt_1"))
		sink := &memory{}
		run(t, fixed(feedtest.Serve(t, source, sidecar)), sink)
		settle(21 * time.Second)
		if n := read.Load(); n != 2 || !sink.holds("grt_1") {
			t.Errorf("%d readings, held: %t", n, sink.holds("grt_1"))
		}
	})
}

// A snapshot is sent while the rest of it is still being read.
func TestASnapshotIsSentWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, held := newSource(), make(chan struct{})
		source.Intercept(func(_ context.Context, method string) error {
			if method == "Snapshot, second half" {
				<-held
			}
			return nil
		})
		for n := range 10 {
			g := someGrant(fmt.Sprintf("grt_%d", n))
			g.GetGrant().Entitlement = strings.Repeat("e", 100<<10)
			source.Put("stripe", g)
		}
		s := open(t, feedtest.Serve(t, source, sidecar), subscribeAs(t, sidecar))
		first := receive(t, s).GetSnapshot()
		if len(first.GetResources()) == 0 || first.GetLast() {
			t.Fatalf("the first message is %v", first)
		}
		close(held)
		if _, n := whole(t, s); n+len(first.GetResources()) != 10 {
			t.Errorf("%d resources arrived", n+len(first.GetResources()))
		}
	})
}

// Of a reading that fails half-way nothing counts, and nobody is told that it is whole.
func TestP2_AReadingThatFailsHalfWayLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource()
		var read atomic.Int32
		source.Intercept(func(_ context.Context, method string) error {
			if method == "Snapshot, second half" && read.Add(1) == 1 {
				<-time.After(time.Second)
				return fmt.Errorf("the database is away")
			}
			return nil
		})
		for n := range 10 {
			g := someGrant(fmt.Sprintf("grt_%d", n))
			g.GetGrant().Entitlement = strings.Repeat("e", 100<<10)
			source.Put("stripe", g)
		}
		sink := &memory{}
		run(t, fixed(feedtest.Serve(t, source, sidecar)), sink)
		settle(900 * time.Millisecond)
		if _, filled := sink.Position(); filled || sink.holds("grt_0") {
			t.Fatal("half of a snapshot is held")
		}
		settle(3 * time.Second)
		for n := range 10 {
			if id := fmt.Sprintf("grt_%d", n); !sink.holds(id) {
				t.Errorf("the next snapshot lacks %s", id)
			}
		}
		if read.Load() != 2 || sink.swaps != 1 {
			t.Errorf("%d readings, %d swaps", read.Load(), sink.swaps)
		}
	})
}
