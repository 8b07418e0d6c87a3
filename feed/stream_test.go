package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

func subscribeAs(t *testing.T, id string) *feed.Subscribe {
	t.Helper()
	i, err := feed.NewInstance(id)
	if err != nil {
		t.Fatal(err)
	}
	return &feed.Subscribe{Instance: i.String(), Reader: 1}
}

// open opens a stream by hand, as a client that is not ours could.
func open(t *testing.T, w *feedtest.Wire, sub *feed.Subscribe) feed.Feed_SyncClient {
	t.Helper()
	return openOn(t, w.Dial(t), sub)
}

func openOn(t *testing.T, conn *grpc.ClientConn, sub *feed.Subscribe) feed.Feed_SyncClient {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := feed.NewFeedClient(conn).Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if sub != nil {
		send(t, stream, &feed.SyncRequest{Message: &feed.SyncRequest_Subscribe{Subscribe: sub}})
	}
	return stream
}

func send(t *testing.T, s feed.Feed_SyncClient, m *feed.SyncRequest) {
	t.Helper()
	if err := s.Send(m); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, s feed.Feed_SyncClient) *feed.SyncResponse {
	t.Helper()
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAStreamBeginsWithOneSubscribeOfItsPeer(t *testing.T) {
	for _, c := range []struct {
		name  string
		first *feed.Subscribe
		then  *feed.SyncRequest
		want  codes.Code
	}{
		{"a ping first", nil, &feed.SyncRequest{Message: &feed.SyncRequest_Ping{Ping: &feed.Ping{Nonce: "n"}}}, codes.InvalidArgument},
		{"two subscribes", subscribeAs(t, sidecar), &feed.SyncRequest{Message: &feed.SyncRequest_Subscribe{Subscribe: subscribeAs(t, sidecar)}}, codes.InvalidArgument},
		{"another sidecar", subscribeAs(t, "spiffe://acme.example/gw/other"), nil, codes.PermissionDenied},
		{"no instance", &feed.Subscribe{Instance: sidecar}, nil, codes.InvalidArgument},
		{"instance in capitals", &feed.Subscribe{Instance: sidecar + "#" + strings.Repeat("AB", 16)}, nil, codes.InvalidArgument},
		{"a ping without nonce", subscribeAs(t, sidecar), &feed.SyncRequest{Message: &feed.SyncRequest_Ping{Ping: &feed.Ping{}}}, codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stream := open(t, feedtest.Serve(t, newSource(), sidecar), c.first)
				if c.then != nil {
					_ = stream.Send(c.then)
				}
				var err error
				for err == nil {
					_, err = stream.Recv()
				}
				if status.Code(err) != c.want {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestAnInstanceThatDoesNotReadIsDroppedAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		w := feedtest.Serve(t, src, sidecar, func(c *feed.ServerConfig) { c.Queue = 8 })
		stuck := open(t, w, subscribeAs(t, sidecar))
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		for range 64 {
			src.Put("stripe", someGrant("x"+strings.Repeat("-", 64<<10)))
			w.Server.Wake()
			synctest.Wait()
		}
		if at, _ := r.sink.Position(); at != src.At() {
			t.Fatalf("the other instance is at %v, want %v", at, src.At())
		}
		var err error
		for err == nil {
			_, err = stuck.Recv()
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("it was dropped with %v", err)
		}
	})
}

// A thousand gateways ping each second: what is written beside their messages counts.
func TestAPingIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, written := feedtest.Serve(t, newSource(), sidecar).DialCounted(t)
		stream := openOn(t, conn, subscribeAs(t, sidecar))
		const pings = 40
		var before int64
		for n := range 1 + pings {
			nonce := fmt.Sprint("n", n)
			send(t, stream, &feed.SyncRequest{Message: &feed.SyncRequest_Ping{Ping: &feed.Ping{Nonce: nonce}}})
			for receive(t, stream).GetPong().GetNonce() != nonce {
			}
			if synctest.Wait(); n == 0 {
				before = written.Load()
			}
		}
		if got := written.Load() - before; got > pings+pings/4 {
			t.Errorf("%d pings took %d writes", pings, got)
		}
	})
}

func TestReceiptsAreCoalescedAndNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		var broken atomic.Bool
		src.Intercept(func(_ context.Context, method string) error {
			if method == "Acknowledge" && broken.Load() {
				return errors.New("disk full")
			}
			return nil
		})
		src.Put("stripe", someGrant("a"), someGrant("b"))
		w := feedtest.Serve(t, src, sidecar)
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		n := len(src.Receipts())
		broken.Store(true)
		src.Remove("stripe", "revoked", "a")
		src.Put("stripe", someGrant("c"))
		w.Server.Wake()
		settle(time.Second)
		if len(src.Receipts()) != n {
			t.Fatal("stored though the source failed")
		}
		broken.Store(false)
		settle(200 * time.Millisecond)
		all := src.Receipts()
		if len(all) != n+1 {
			t.Fatalf("%d rows for two revisions in one batch, want one", len(all)-n)
		}
		if last := all[n]; last.At != src.At() || last.LastAction != "act_of_a" || last.Instance != r.instance {
			t.Fatalf("receipt %+v: want the head with the figures of the removal", last)
		}
	})
}

func TestMergeKeepsTheFiguresOfEarlierRevisions(t *testing.T) {
	early, late := time.Unix(10, 0), time.Unix(20, 0)
	old := feed.Receipt{At: feed.Position{Epoch: 1, Revision: 5}, LastAllowed: late, LastAction: "act_late", Bounded: late, StreamsCut: 2}
	new := feed.Receipt{At: feed.Position{Epoch: 1, Revision: 7}, LastAllowed: early, LastAction: "act_early"}
	for _, got := range []feed.Receipt{old.Merge(new), new.Merge(old)} {
		if got.At.Revision != 7 || got.LastAction != "act_late" || !got.LastAllowed.Equal(late) || !got.Bounded.Equal(late) || got.StreamsCut != 2 {
			t.Errorf("merged to %+v", got)
		}
	}
}

// script is a control plane that sends what a test says, right or wrong.
type script struct {
	feed.UnimplementedFeedServer
	play func(n int, first *feed.Subscribe, s feed.Feed_SyncServer) error
	n    atomic.Int32
	subs chan *feed.Subscribe
}

func (s *script) Sync(stream grpc.BidiStreamingServer[feed.SyncRequest, feed.SyncResponse]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	s.subs <- m.GetSubscribe()
	return s.play(int(s.n.Add(1)), m.GetSubscribe(), stream)
}

func snapshotAt(revision int64) *feed.SyncResponse {
	return &feed.SyncResponse{Message: &feed.SyncResponse_Snapshot{Snapshot: &feed.SnapshotPart{Epoch: 1, Revision: revision, Last: true, Apps: []string{"stripe"}}}}
}

func deltaAt(revision int64) *feed.SyncResponse {
	return &feed.SyncResponse{Message: &feed.SyncResponse_Delta{Delta: &feed.Delta{Epoch: 1, Revision: revision}}}
}

// answer sends a Pong for each Ping, as change makes it.
func answer(s feed.Feed_SyncServer, change func(*feed.Pong)) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		ping := m.GetPing()
		if ping == nil {
			continue
		}
		p := &feed.Pong{Nonce: ping.GetNonce(), Epoch: 1, Head: ping.GetRevision(), CompleteTo: ping.GetRevision(), TimeUs: 1}
		change(p)
		if err := s.Send(&feed.SyncResponse{Message: &feed.SyncResponse_Pong{Pong: p}}); err != nil {
			return err
		}
	}
}

// TestP4_OnlyAPongThatFitsRenews plays control planes that answer wrongly.
func TestP4_OnlyAPongThatFitsRenews(t *testing.T) {
	var first atomic.Value
	for _, c := range []struct {
		name   string
		change func(*feed.Pong)
		alarm  bool
		renews bool
	}{
		{"right", func(*feed.Pong) {}, false, true},
		{"a foreign nonce", func(p *feed.Pong) { p.Nonce = "0123" }, true, false},
		{"the same nonce again", func(p *feed.Pong) {
			if first.CompareAndSwap(nil, p.Nonce) {
				p.Nonce = "other"
			} else {
				p.Nonce, _ = first.Load().(string)
			}
		}, true, true}, // the second answers the first ping: once
		{"a head that is not complete", func(p *feed.Pong) { p.Head += 5 }, false, false},
		{"a head before what was told", func(p *feed.Pong) { p.Head, p.CompleteTo = 3, 3 }, true, false},
		{"a delta that never came", func(p *feed.Pong) { p.Deltas = 1 }, false, false},
		{"a later epoch", func(p *feed.Pong) { p.Epoch = 2 }, true, false},
		{"an older epoch", func(p *feed.Pong) { p.Epoch = 0 }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{subs: make(chan *feed.Subscribe, 100), play: func(_ int, _ *feed.Subscribe, s feed.Feed_SyncServer) error {
					if err := s.Send(snapshotAt(10)); err != nil {
						return err
					}
					return answer(s, c.change)
				}}
				r := run(t, fixed(feedtest.ServeRaw(t, s)), &memory{})
				settle(5 * time.Second)
				if got := r.sink.renewals() > 0; got != c.renews {
					t.Errorf("%d renewals, want some: %v", r.sink.renewals(), c.renews)
				}
				if got := len(r.alarms()) > 0; got != c.alarm {
					t.Errorf("alarms %v, want some: %v", r.alarms(), c.alarm)
				}
			})
		})
	}
}

// Whatever comes out of order makes the instance ask for everything anew, and
// renews nothing meanwhile.
func TestWhatDoesNotFollowMakesAnInstanceResync(t *testing.T) {
	for _, c := range []struct {
		name string
		wire []*feed.SyncResponse
	}{
		{"deltas in another order", []*feed.SyncResponse{snapshotAt(10), deltaAt(14), deltaAt(12)}},
		{"a delta twice", []*feed.SyncResponse{snapshotAt(10), deltaAt(14), deltaAt(14)}},
		{"a delta below the snapshot", []*feed.SyncResponse{snapshotAt(10), deltaAt(8)}},
		{"a delta before the snapshot", []*feed.SyncResponse{deltaAt(8), snapshotAt(10)}},
		{"a second snapshot", []*feed.SyncResponse{snapshotAt(10), snapshotAt(12)}},
		{"a snapshot of two positions", []*feed.SyncResponse{
			{Message: &feed.SyncResponse_Snapshot{Snapshot: &feed.SnapshotPart{Epoch: 1, Revision: 10}}}, snapshotAt(12)}},
		{"a delta of another epoch", []*feed.SyncResponse{snapshotAt(10), {Message: &feed.SyncResponse_Delta{Delta: &feed.Delta{Epoch: 2, Revision: 1}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{subs: make(chan *feed.Subscribe, 100), play: func(n int, _ *feed.Subscribe, s feed.Feed_SyncServer) error {
					wire := c.wire
					if n > 1 {
						wire = []*feed.SyncResponse{snapshotAt(20)}
					}
					for _, m := range wire {
						if err := s.Send(m); err != nil {
							return err
						}
					}
					return answer(s, func(p *feed.Pong) { p.Deltas = uint64(len(wire) - 1) })
				}}
				r := run(t, fixed(feedtest.ServeRaw(t, s)), &memory{})
				<-s.subs
				again := <-s.subs
				if again.GetRevision() != 0 || again.GetEpoch() != 0 {
					t.Fatalf("it subscribed again with %v", again)
				}
				settle(2 * time.Second)
				if at, _ := r.sink.Position(); at.Revision != 20 || r.sink.renewals() == 0 {
					t.Fatalf("at %v with %d renewals after the resync", at, r.sink.renewals())
				}
			})
		})
	}
}

// Bad input: what an instance cannot read whole, or what does not follow, changes
// nothing and raises an alarm.
func TestP2_WhatCannotBeReadWholeIsRefusedWithAnAlarm(t *testing.T) {
	odd := []byte{0xc0, 0x0c, 0x01} // a field that nobody knows
	spoil := func(m *feed.SyncResponse) *feed.SyncResponse {
		switch {
		case m.GetSnapshot() != nil:
			m.GetSnapshot().ProtoReflect().SetUnknown(odd)
		case len(m.GetDelta().GetRemovals()) > 0:
			m.GetDelta().GetRemovals()[0].ProtoReflect().SetUnknown(odd)
		default:
			m.GetDelta().ProtoReflect().SetUnknown(odd)
		}
		return m
	}
	removal := deltaAt(12)
	removal.GetDelta().Removals = []*feed.Removal{{Kind: feed.KindGrant, Id: "g"}}
	for _, c := range []struct {
		name string
		wire []*feed.SyncResponse
		at   int64 // that stays
	}{
		{"a snapshot with an unknown field", []*feed.SyncResponse{spoil(snapshotAt(10))}, 0},
		{"a delta with an unknown field", []*feed.SyncResponse{snapshotAt(10), spoil(deltaAt(12))}, 10},
		{"a removal with an unknown field", []*feed.SyncResponse{snapshotAt(10), spoil(removal)}, 10},
		{"a delta of an older epoch", []*feed.SyncResponse{snapshotAt(10), {Message: &feed.SyncResponse_Delta{Delta: &feed.Delta{Revision: 12}}}}, 10},
		{"a delta of an older revision", []*feed.SyncResponse{snapshotAt(10), deltaAt(8)}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{subs: make(chan *feed.Subscribe, 100), play: func(_ int, _ *feed.Subscribe, s feed.Feed_SyncServer) error {
					for _, m := range c.wire {
						if err := s.Send(m); err != nil {
							return err
						}
					}
					<-s.Context().Done()
					return nil
				}}
				r := run(t, fixed(feedtest.ServeRaw(t, s)), &memory{})
				settle(3 * time.Second)
				if at, _ := r.sink.Position(); at.Revision != c.at || len(r.sink.applied) != 0 || r.sink.renewals() != 0 || len(r.alarms()) == 0 {
					t.Errorf("at %v, applied %v, %d renewals, alarms %v", at, r.sink.applied, r.sink.renewals(), r.alarms())
				}
			})
		})
	}
}

func TestASnapshotBelowWhatWasSeenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		for range 5 {
			src.Put("stripe", someGrant("g"))
		}
		var now atomic.Pointer[feedtest.Wire]
		now.Store(feedtest.Serve(t, src, sidecar))
		r := run(t, now.Load, &memory{})
		settle(2 * time.Second)
		seen, _ := r.sink.Position()
		now.Load().Stop()
		src.Rewind(3)
		now.Store(feedtest.Serve(t, src, sidecar))
		before := r.sink.renewals()
		settle(20 * time.Second)
		if at, _ := r.sink.Position(); at != seen || r.sink.renewals() != before {
			t.Fatalf("at %v with %d new renewals: a rolled back control plane was believed", at, r.sink.renewals()-before)
		}
		if !slices.Contains(r.alarms(), "the snapshot was refused") {
			t.Fatalf("alarms %v", r.alarms())
		}
	})
}

func TestTwoInstancesUnderOneSVIDAreToldAndCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Put("stripe", someGrant("g"))
		w := feedtest.Serve(t, src, sidecar)
		one, two := run(t, fixed(w), &memory{}), run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		two.stop()
		settle(time.Second)
		revoked := src.Remove("stripe", "revoked", "g")
		w.Server.Wake()
		settle(2 * time.Second)
		if src.Acked(one.instance) != revoked || src.Acked(two.instance) == revoked {
			t.Fatalf("receipts: %v and %v, want only the first at %v", src.Acked(one.instance), src.Acked(two.instance), revoked)
		}
		if src.Present(two.instance) || !src.Present(one.instance) {
			t.Fatal("the wrong one is present")
		}
	})
}
