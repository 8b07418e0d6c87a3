package feed_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

// settle lets d pass and everything come to rest.
func settle(d time.Duration) {
	time.Sleep(d) // the bubble's clock: no time passes
	synctest.Wait()
}

func TestSnapshotThenDeltasThenPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		for _, id := range []string{"a", "b", "c"} {
			src.Put("stripe", someGrant(id+strings.Repeat("-", 200<<10))) // several parts
		}
		src.Put("billing", someGrant("of another app"))
		w := feedtest.Serve(t, src, sidecar)
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		if at, filled := r.sink.Position(); !filled || at != src.At() || r.sink.swapped() != 1 {
			t.Fatalf("at %v filled %v after %d swaps, want the head %v after one", at, filled, r.sink.swapped(), src.At())
		}
		if r.sink.holds("of another app") {
			t.Fatal("it was told of an app that it does not front")
		}
		put := src.Put("stripe", someGrant("d"))
		w.Server.Wake()
		synctest.Wait()
		if !r.sink.holds("d") {
			t.Fatal("a change was not told at once")
		}
		settle(200 * time.Millisecond)
		if src.Acked(r.instance) != put {
			t.Fatalf("acknowledged %v, want %v", src.Acked(r.instance), put)
		}
		before := r.sink.renewals()
		settle(5 * time.Second)
		if n := r.sink.renewals() - before; n < 4 || n > 6 {
			t.Fatalf("%d renewals in 5 s, want one each second", n)
		}
	})
}

func TestAnInstanceWhoseAppsDidNotChangeAppliesTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		w := feedtest.Serve(t, src, sidecar)
		r := run(t, fixed(w), &memory{})
		settle(time.Second)
		src.Put("billing", someGrant("x"))
		w.Server.Wake()
		settle(1200 * time.Millisecond)
		if at, _ := r.sink.Position(); at != src.At() || len(r.sink.applied) != 0 {
			t.Fatalf("at %v after deltas %v, want %v after none", at, r.sink.applied, src.At())
		}
	})
}

// A change is seen by the transaction of a beat: its delta leaves before the
// Pong, even if nobody woke the server.
func TestP4_APongFollowsEveryDeltaThatItsTransactionSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Put("stripe", someGrant("g"))
		w := feedtest.Serve(t, src, sidecar)
		stream := open(t, w, subscribeAs(t, sidecar))
		receive(t, stream) // snapshot
		src.Remove("stripe", "revoked", "g")
		send(t, stream, &feed.SyncRequest{Message: &feed.SyncRequest_Ping{Ping: &feed.Ping{Nonce: "n"}}})
		if d := receive(t, stream).GetDelta(); d.GetRevision() != src.At().Revision || d.GetRemovals()[0].GetId() != "g" {
			t.Fatalf("first came %v, want the removal", d)
		}
		p := receive(t, stream).GetPong()
		if p.GetNonce() != "n" || p.GetCompleteTo() != src.At().Revision || p.GetHead() != src.At().Revision || p.GetDeltas() != 1 {
			t.Fatalf("pong %v", p)
		}
	})
}

func TestP4_AReplicaWhoseBeatBlocksRenewsNoLease(t *testing.T) {
	for _, fault := range []string{"blocks", "fails"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				var broken atomic.Bool
				src.Intercept(func(ctx context.Context, method string) error {
					if method != "Beat" || !broken.Load() {
						return nil
					}
					if fault == "blocks" {
						<-ctx.Done()
					}
					return context.DeadlineExceeded
				})
				src.Put("stripe", someGrant("g"))
				w := feedtest.Serve(t, src, sidecar)
				r := run(t, fixed(w), &memory{})
				settle(3 * time.Second)
				broken.Store(true)
				settle(time.Second)
				before := r.sink.renewals()
				src.Remove("stripe", "revoked", "g")
				w.Server.Wake()
				settle(time.Minute)
				if r.sink.renewals() != before {
					t.Fatal("a lease was renewed without a stored beat")
				}
				if r.sink.holds("g") {
					t.Fatal("a removal was not told though it could be read")
				}
				broken.Store(false)
				settle(12 * time.Second)
				if r.sink.renewals() == before {
					t.Fatal("no lease after the replica recovered")
				}
				broken.Store(true)
				settle(2 * time.Second)
				w.Stop() // returns, or the bubble reports a deadlock
			})
		})
	}
}

func TestASecondStreamTakesUpWhereTheFirstEnded(t *testing.T) {
	for _, c := range []struct {
		name  string
		while func(*feedtest.Source)
		swaps int
	}{
		{"nothing happened", func(*feedtest.Source) {}, 1},
		{"a change that is still kept", func(s *feedtest.Source) { s.Put("stripe", someGrant("new")) }, 1},
		{"changes no longer kept", func(s *feedtest.Source) { s.Put("stripe", someGrant("new")); s.Forget() }, 2},
		{"it fronts another app now", func(s *feedtest.Source) { s.Front(sidecar, "stripe", "billing"); s.Put("billing", someGrant("new")) }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.Put("stripe", someGrant("old"))
				var now atomic.Pointer[feedtest.Wire]
				now.Store(feedtest.Serve(t, src, sidecar))
				r := run(t, now.Load, &memory{})
				settle(2 * time.Second)
				now.Load().Stop()
				c.while(src)
				now.Store(feedtest.Serve(t, src, sidecar))
				settle(5 * time.Second)
				if at, _ := r.sink.Position(); at != src.At() {
					t.Fatalf("at %v, want %v", at, src.At())
				}
				if !r.sink.holds("old") || r.sink.swapped() != c.swaps {
					t.Fatalf("%d snapshots, want %d", r.sink.swapped(), c.swaps)
				}
				if src.Acked(r.instance).Revision > src.At().Revision {
					t.Fatal("acknowledged what was not told")
				}
				before := r.sink.renewals()
				settle(3 * time.Second)
				if r.sink.renewals() == before {
					t.Fatal("no lease on the second stream")
				}
			})
		})
	}
}

func TestARestartedInstanceSaysThatItHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		w := feedtest.Serve(t, src, sidecar)
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		r.stop()
		settle(time.Second)
		if src.Present(r.instance) {
			t.Fatal("the source was not told that it left")
		}
		run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		joins := src.Joins()
		if last := joins[len(joins)-1]; last.GetEpoch() != 0 || last.GetRevision() != 0 {
			t.Fatalf("subscribed with %v", last)
		}
	})
}

func TestAPolicyChangeOfNodesMakesInstancesJoinAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Put("billing", someGrant("theirs"))
		w := feedtest.Serve(t, src, sidecar)
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		src.Front(sidecar, "stripe", "billing")
		src.Rejoin()
		w.Server.Wake()
		settle(3 * time.Second)
		if !r.sink.holds("theirs") {
			t.Fatal("the grants of an app that it fronts now were not told")
		}
	})
}

func TestWhatIsNotUnderstoodIsRefusedAndNotHeld(t *testing.T) {
	base := someGrant("g")
	rule := &feed.Rule{Operation: "refunds.create", Where: []*feed.Constraint{{Attribute: "amount", Op: "max", Values: []*feed.Value{{Type: "integer", Value: "1"}}}}}
	base.GetGrant().Rules = []*feed.Rule{rule}
	app := &feed.Resource{Id: "stripe", Resource: &feed.Resource_App{App: &feed.App{Name: "stripe", Asks: []*feed.Ask{{Entitlement: "e"}}}}}
	for _, c := range []struct {
		name string
		r    *feed.Resource
	}{
		{"a newer reader", func() *feed.Resource { r := proto.CloneOf(base); r.MinReader = 2; return r }()},
		{"a field of the resource", newer(base, func(r *feed.Resource) proto.Message { return r })},
		{"a field of the grant", newer(base, func(r *feed.Resource) proto.Message { return r.GetGrant() })},
		{"a field of a constraint", newer(base, func(r *feed.Resource) proto.Message { return r.GetGrant().GetRules()[0].GetWhere()[0] })},
		{"a field of a value", newer(base, func(r *feed.Resource) proto.Message {
			return r.GetGrant().GetRules()[0].GetWhere()[0].GetValues()[0]
		})},
		{"a field of an ask of an app", newer(app, func(r *feed.Resource) proto.Message { return r.GetApp().GetAsks()[0] })},
		{"a kind of resource", newer(&feed.Resource{Id: "g"}, func(r *feed.Resource) proto.Message { return r })},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				old := proto.CloneOf(base)
				old.Id = c.r.GetId()
				src.Put("stripe", old)
				w := feedtest.Serve(t, src, sidecar)
				r := run(t, fixed(w), &memory{})
				settle(2 * time.Second)
				if !r.sink.holds(c.r.GetId()) {
					t.Fatal("what is understood is not held")
				}
				put := src.Put("stripe", c.r)
				w.Server.Wake()
				settle(time.Second)
				if r.sink.holds(c.r.GetId()) {
					t.Fatal("it is held")
				}
				refusals := src.Refusals()
				if len(refusals) != 1 || refusals[0].Nack.GetReason() != "unsupported_grant" || refusals[0].Nack.GetId() != c.r.GetId() ||
					refusals[0].Nack.GetRevision() != put.Revision || refusals[0].Instance != r.instance {
					t.Fatalf("refusals %v", refusals)
				}
			})
		})
	}
}

// A receipt counts for what is held at its revision: what was refused of it is known
// before.
func TestARefusalIsStoredBeforeTheReceiptOfItsRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		w := feedtest.Serve(t, src, sidecar)
		run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		var calls []string
		src.Intercept(func(_ context.Context, method string) error {
			if method == "Refused" || method == "Acknowledge" {
				calls = append(calls, method)
			}
			return nil
		})
		r := someGrant("g")
		r.MinReader = 9
		src.Put("stripe", r)
		w.Server.Wake()
		settle(time.Second)
		if !slices.Equal(calls, []string{"Refused", "Acknowledge"}) {
			t.Errorf("stored in the order %v", calls)
		}
	})
}

func TestASinkThatHoldsWhatIsNotUnderstoodGetsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		r := someGrant("g")
		r.MinReader = 9
		src.Put("stripe", r)
		i := run(t, fixed(feedtest.Serve(t, src, sidecar)), &memory{credulous: true})
		settle(10 * time.Second)
		if i.sink.renewals() != 0 {
			t.Fatal("its lease was renewed")
		}
	})
}

func TestNobodySpeaksForAnotherSidecar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.Front("spiffe://acme.example/gw/other", "stripe")
		w := feedtest.Serve(t, src, "spiffe://acme.example/gw/other")
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		if len(src.Joins()) != 0 {
			t.Fatal("it joined")
		}
		_, err := r.client.Ingest(t.Context(), &feed.IngestRequest{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("ingest: %v", err)
		}
		_, err = r.client.Reserve(t.Context(), &feed.ReserveRequest{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("reserve: %v", err)
		}
	})
}

func TestAPeerThatIsNoLongerProvenLosesItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		var expired atomic.Bool
		w := feedtest.Serve(t, src, sidecar, func(c *feed.ServerConfig) {
			c.Peer = func(context.Context) (string, error) {
				if expired.Load() {
					return "", context.DeadlineExceeded
				}
				return sidecar, nil
			}
		})
		r := run(t, fixed(w), &memory{})
		settle(2 * time.Second)
		expired.Store(true)
		settle(1500 * time.Millisecond)
		before := r.sink.renewals()
		settle(10 * time.Second)
		if r.sink.renewals() != before || src.Present(r.instance) {
			t.Fatal("a live connection outlived its certificate")
		}
	})
}

// An end is told first where somebody may still use what has ended.
func TestP4_InstancesThatShippedLastAreToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.Serve(t, newSource(), sidecar)
		conn := w.Dial(t)
		var all []feed.Instance
		for range 20 {
			sub := subscribeAs(t, sidecar)
			i, err := feed.ParseInstance(sub.GetInstance())
			if err != nil {
				t.Fatal(err)
			}
			openOn(t, conn, sub)
			all = append(all, i)
		}
		settle(2 * time.Second)
		for _, n := range []int{13, 4, 13, 7} {
			if _, err := feed.NewFeedClient(conn).Ingest(t.Context(), &feed.IngestRequest{Instance: all[n].String()}); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		got := w.Server.LastShippersFirst()
		if want := []feed.Instance{all[7], all[13], all[4]}; len(got) != len(all) || !slices.Equal(got[:3], want) {
			t.Errorf("told in the order %v, want first %v", got, want)
		}
	})
}

func TestUnaryCallsReachTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		r := run(t, fixed(feedtest.Serve(t, src, sidecar)), &memory{})
		in, err := r.client.Ingest(t.Context(), &feed.IngestRequest{Spool: "s", First: 1, Last: 4})
		if err != nil || !in.GetAccepted() || in.GetNextSeq() != 5 {
			t.Errorf("ingest: %v, %v", in, err)
		}
		res, err := r.client.Reserve(t.Context(), &feed.ReserveRequest{Action: "a"})
		if err != nil || res.GetResult() != feed.ReserveResponse_OK {
			t.Errorf("reserve: %v, %v", res, err)
		}
		src.Intercept(func(context.Context, string) error { return status.Error(codes.DataLoss, "seen") })
		if _, err := r.client.Reserve(t.Context(), &feed.ReserveRequest{}); status.Code(err) != codes.DataLoss {
			t.Errorf("a status of the source became %v", err)
		}
		src.Intercept(func(context.Context, string) error { return context.DeadlineExceeded })
		if _, err := r.client.Reserve(t.Context(), &feed.ReserveRequest{}); status.Code(err) == codes.OK {
			t.Error("a failed reservation was acknowledged")
		}
	})
}
