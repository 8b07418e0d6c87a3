package feed_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

var secretHash = bytes.Repeat([]byte{7}, 32)

func someSession() *feed.Session {
	return &feed.Session{Principal: "user:idp:alice", App: "wiki", Host: "wiki.acme.example"}
}

func redeem(change ...func(*feed.RedeemRequest)) *feed.RedeemRequest {
	r := &feed.RedeemRequest{App: "wiki", Host: "wiki.acme.example", Code: "code", State: "state", Hash: secretHash}
	for _, f := range change {
		f(r)
	}
	return r
}

// people is a client of a control plane that fronts a wiki which takes people.
func people(t *testing.T, w *feedtest.Wire, reader uint32) *feed.Client {
	t.Helper()
	i, err := feed.NewInstance(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	c, err := feed.NewClient(feed.ClientConfig{
		Conn: w.Dial(t), Instance: i, Reader: reader, Sink: &memory{}, BootNow: func() time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wikiSource() *feedtest.Source {
	src := newSource()
	src.Front(sidecar, "wiki")
	src.HandOver("code", "state", "ses_1", someSession())
	return src
}

func TestACodeIsRedeemedLookedUpAndEnded(t *testing.T) {
	src := wikiSource()
	c := people(t, feedtest.Serve(t, src, sidecar), 2)
	ctx := t.Context()
	ask := &feed.LookupRequest{App: "wiki", Hash: secretHash}
	if out, err := c.Lookup(ctx, ask); err != nil || out.GetSession() != nil || out.GetEnded() {
		t.Fatalf("before it was there: %v, %v", out, err)
	}
	out, err := c.Redeem(ctx, redeem())
	if err != nil || out.GetSession().GetId() != "ses_1" || out.GetSession().GetSession().GetPrincipal() != "user:idp:alice" {
		t.Fatalf("%v, %v", out, err)
	}
	if again, err := c.Redeem(ctx, redeem()); status.Code(err) != codes.NotFound || again != nil {
		t.Fatalf("the code counted twice: %v, %v", again, err)
	}
	if found, err := c.Lookup(ctx, ask); err != nil || !proto.Equal(found.GetSession(), out.GetSession()) {
		t.Fatalf("%v, %v", found, err)
	}
	for range 2 {
		if _, err := c.EndSession(ctx, &feed.EndSessionRequest{App: "wiki", Hash: secretHash}); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := c.Lookup(ctx, ask); err != nil || found.GetSession() != nil || !found.GetEnded() {
		t.Fatalf("after its end: %v, %v", found, err)
	}
}

func TestNobodyAsksForSessionsInTheNameOfAnotherSidecar(t *testing.T) {
	src := wikiSource()
	src.Front("spiffe://acme.example/gw/other", "wiki")
	src.Intercept(func(_ context.Context, method string) error {
		t.Errorf("%s reached the source", method)
		return nil
	})
	c := people(t, feedtest.Serve(t, src, "spiffe://acme.example/gw/other"), 2)
	_, redeemed := c.Redeem(t.Context(), redeem())
	_, found := c.Lookup(t.Context(), &feed.LookupRequest{App: "wiki", Hash: secretHash})
	_, ended := c.EndSession(t.Context(), &feed.EndSessionRequest{App: "wiki", Hash: secretHash})
	for name, err := range map[string]error{"redeem": redeemed, "lookup": found, "end": ended} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASourceThatCannotAnswerGivesNoSession(t *testing.T) {
	src := wikiSource()
	c := people(t, feedtest.Serve(t, src, sidecar), 2)
	src.Intercept(func(context.Context, string) error { return context.DeadlineExceeded })
	if out, err := c.Redeem(t.Context(), redeem()); status.Code(err) != codes.Unavailable || out != nil {
		t.Errorf("redeem: %v, %v", out, err)
	}
	if out, err := c.Lookup(t.Context(), &feed.LookupRequest{App: "wiki", Hash: secretHash}); status.Code(err) != codes.Unavailable || out != nil {
		t.Errorf("lookup: %v, %v", out, err)
	}
	if _, err := c.EndSession(t.Context(), &feed.EndSessionRequest{App: "wiki", Hash: secretHash}); status.Code(err) != codes.Unavailable {
		t.Errorf("end: %v", err)
	}
}

// played is a control plane that answers Redeem and Lookup with whatever the test says.
type played struct {
	feed.UnimplementedFeedServer
	feed.UnimplementedSessionsServer
	answer *feed.SessionResponse
}

func (p *played) Redeem(context.Context, *feed.RedeemRequest) (*feed.SessionResponse, error) {
	return p.answer, nil
}

func (p *played) Lookup(context.Context, *feed.LookupRequest) (*feed.SessionResponse, error) {
	return p.answer, nil
}

func TestAnAnswerAboutAnotherSessionDoesNotCount(t *testing.T) {
	good := func() *feed.Resource {
		s := someSession()
		s.Hash = secretHash
		return &feed.Resource{Id: "ses_1", MinReader: 2, Resource: &feed.Resource_Session{Session: s}}
	}
	for _, c := range []struct {
		name   string
		change func(*feed.Resource)
		redeem bool // counts for Redeem
		lookup bool
	}{
		{"as asked", func(*feed.Resource) {}, true, true},
		{"of another secret", func(r *feed.Resource) { r.GetSession().Hash = bytes.Repeat([]byte{8}, 32) }, false, false},
		{"without a hash", func(r *feed.Resource) { r.GetSession().Hash = nil }, false, false},
		{"of another app", func(r *feed.Resource) { r.GetSession().App = "stripe" }, false, false},
		{"of another host of the app", func(r *feed.Resource) { r.GetSession().Host = "docs.acme.example" }, false, true},
		{"a grant", func(r *feed.Resource) { r.Resource = someGrant("g").GetResource() }, false, false},
		{"for a newer reader", func(r *feed.Resource) { r.MinReader = 3 }, false, false},
		{"with a field of a newer control plane", func(r *feed.Resource) {
			proto.Merge(r, newer(r, func(r *feed.Resource) proto.Message { return r.GetSession() }))
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good()
			c.change(r)
			client := people(t, feedtest.ServeRaw(t, &played{answer: &feed.SessionResponse{Session: r}}), 2)
			out, err := client.Redeem(t.Context(), redeem())
			if (err == nil) != c.redeem || (out != nil) != c.redeem {
				t.Errorf("redeem: %v, %v", out, err)
			}
			out, err = client.Lookup(t.Context(), &feed.LookupRequest{App: "wiki", Hash: secretHash})
			if (err == nil) != c.lookup || (out != nil) != c.lookup {
				t.Errorf("lookup: %v, %v", out, err)
			}
		})
	}
	client := people(t, feedtest.ServeRaw(t, &played{answer: &feed.SessionResponse{}}), 2)
	if out, err := client.Redeem(t.Context(), redeem()); err == nil {
		t.Errorf("an empty answer became a session: %v", out)
	}
}

// nothing is a source whose Redeem returns no session and no error.
type nothing struct{ *feedtest.Source }

func (nothing) Redeem(context.Context, feed.Instance, *feed.RedeemRequest) (*feed.SessionResponse, error) {
	return &feed.SessionResponse{Session: &feed.Resource{Id: "ses_1"}}, nil
}

func TestAPartialAnswerIsNotFound(t *testing.T) {
	w := feedtest.Serve(t, nothing{wikiSource()}, sidecar)
	_, err := feed.NewSessionsClient(w.Dial(t)).Redeem(t.Context(), &feed.RedeemRequest{Instance: sidecar + "#" + "0123456789abcdef0123456789abcdef"}, grpc.WaitForReady(true))
	if status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
}

// The removal alone ends a session on an instance, and its Ack covers it.
func TestP4_TheRemovalOfASessionIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		w := feedtest.Serve(t, src, sidecar)
		s := someSession()
		s.App = "stripe"
		src.Put("stripe", &feed.Resource{Id: "ses_1", MinReader: 1, Resource: &feed.Resource_Session{Session: s}})
		r := run(t, fixed(w), &memory{})
		settle(time.Second)
		if !r.sink.holds("ses_1") {
			t.Fatal("the session was not told")
		}
		at := src.EndSessionOf("stripe", "ses_1")
		w.Server.Wake()
		synctest.Wait()
		if r.sink.holds("ses_1") {
			t.Fatal("it is still held")
		}
		settle(200 * time.Millisecond)
		if src.Acked(r.instance) != at {
			t.Fatalf("acknowledged %v, want %v", src.Acked(r.instance), at)
		}
	})
}
