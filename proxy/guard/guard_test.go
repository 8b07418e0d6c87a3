package guard

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// envoy is a test that plays Envoy's side of one held stream.
type envoy struct {
	grpc.ServerStream
	ctx  context.Context
	end  context.CancelFunc
	say  chan *extprocv3.ProcessingRequest
	told chan *extprocv3.ProcessingResponse
	over chan error
}

func (e *envoy) Context() context.Context { return e.ctx }

func (e *envoy) Recv() (*extprocv3.ProcessingRequest, error) {
	select {
	case m := <-e.say:
		return m, nil
	case <-e.ctx.Done():
		return nil, io.EOF
	}
}

func (e *envoy) Send(m *extprocv3.ProcessingResponse) error {
	e.told <- m
	return e.ctx.Err()
}

// rig is a guard on a table that a test plays the feed of.
type rig struct {
	t       *testing.T
	world   *proxytest.World
	grant   grant.GrantID
	actions *proxy.Actions
	server  *Server
	minter  *grant.Minter
	journal proxytest.Journal
	other   *feed.Resource // the newest of more grants
}

func newRig(t *testing.T) *rig {
	t.Helper()
	wiki := proxytest.Wiki()
	wiki.MinReader, wiki.GetApp().Guard, wiki.GetApp().MaxStreamUs = 4, true, 0
	r := &rig{t: t, world: proxytest.NewWorld(t, wiki), actions: proxy.NewActions(), minter: grant.NewMinter()}
	var resource *feed.Resource
	r.grant, resource = r.world.Reads(time.Hour)
	r.world.Add(resource)
	var err error
	if r.server, err = New(Config{Table: r.world.Table, Actions: r.actions, Journal: &r.journal}); err != nil {
		t.Fatal(err)
	}
	return r
}

// allow is what Check leaves for the guard.
func (r *rig) allow(change ...func(*proxy.Action)) proxy.Action {
	now := r.world.Now()
	a := proxy.Action{
		ID: r.minter.NewActionID(now), Grant: r.grant, App: "wiki", Method: "GET", Authority: "wiki.acme.example", Path: "/events",
		Guard: true, Decided: now, Deadline: now.Add(time.Hour), Limit: now.Add(24 * time.Hour),
	}
	for _, f := range change {
		f(&a)
	}
	if err := r.actions.Put(a); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// open has Envoy ask for an action's request, which it describes as the action does.
func (r *rig) open(a proxy.Action, headers ...string) *envoy {
	e := &envoy{say: make(chan *extprocv3.ProcessingRequest, 4), told: make(chan *extprocv3.ProcessingResponse, 4), over: make(chan error, 1)}
	e.ctx, e.end = context.WithCancel(r.t.Context())
	m := &corev3.HeaderMap{}
	for i, all := 0, append([]string{":method", a.Method, ":authority", a.Authority, ":path", a.Path}, headers...); i < len(all); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: all[i], RawValue: []byte(all[i+1])})
	}
	e.say <- &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"envoy.filters.http.ext_authz": {Fields: map[string]*structpb.Value{"action": structpb.NewStringValue(a.ID.String())}},
		}},
	}
	go func() { e.over <- r.server.Process(e) }()
	return e
}

// hears waits for what the guard says next: an hour of the bubble, so that silence
// fails a test and does not hang it.
func (e *envoy) hears(t *testing.T) *extprocv3.ProcessingResponse {
	t.Helper()
	select {
	case m := <-e.told:
		return m
	case <-time.After(time.Hour):
		t.Fatal("the guard says nothing")
		return nil
	}
}

// goes waits until the request is let through.
func (e *envoy) goes(t *testing.T) {
	t.Helper()
	if m := e.hears(t); m.GetRequestHeaders().GetResponse().GetStatus() != extprocv3.CommonResponse_CONTINUE || m.GetRequestHeaders() == nil {
		t.Fatalf("the request does not go on: %v", m)
	}
}

// cut waits until the stream is cut, and returns the details and the status.
func (e *envoy) cut(t *testing.T) (details string, status int) {
	t.Helper()
	i := e.hears(t).GetImmediateResponse()
	if i == nil {
		t.Fatal("not a cut")
	}
	return i.GetDetails(), int(i.GetStatus().GetCode())
}

// neverNil waits until Process has returned.
func (e *envoy) neverNil(t *testing.T) {
	t.Helper()
	if err := <-e.over; err == nil {
		t.Error("the guard ended in good order, and the request goes on without one")
	}
}

func TestP4_AStreamIsCutWhenItsAccessEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*rig)
		want string
	}{
		"revoked":        {func(r *rig) { r.world.End(r.grant, grant.Revoked) }, "mayfly_revoked"},
		"finished":       {func(r *rig) { r.world.End(r.grant, grant.Ended) }, "mayfly_ended"},
		"locked":         {func(r *rig) { r.world.End(r.grant, grant.Locked) }, "mayfly_locked"},
		"policy changed": {func(r *rig) { r.world.End(r.grant, grant.PolicyChanged) }, "mayfly_policy_changed"},
		"its time": {func(r *rig) {
			synctest.Wait() // the guard looks again after the Pong, not before
			r.world.Pass(time.Hour)
			r.world.Pong()
		}, "mayfly_ended"},
		"the lease": {func(r *rig) { r.world.Pass(15 * time.Second) }, "mayfly_stale"},
		"the app is gone": {func(r *rig) {
			r.world.Remove(&feed.Removal{Kind: feed.KindApp, Id: "wiki", Reason: "policy_changed"})
		}, "mayfly_unknown_app"},
		"the app moves": {func(r *rig) {
			moved := proxytest.Wiki()
			moved.MinReader, moved.GetApp().Guard, moved.GetApp().Upstream = 4, true, "http://127.0.0.1:2"
			r.world.Add(moved)
		}, "mayfly_policy_changed"},
		"a snapshot without it": {func(r *rig) {
			wiki := proxytest.Wiki()
			wiki.MinReader, wiki.GetApp().Guard, wiki.GetApp().MaxStreamUs = 4, true, 0
			r.world.Anew(wiki)
		}, "mayfly_revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				e := r.open(r.allow())
				e.goes(t)
				c.end(r)
				if details, status := e.cut(t); details != c.want || status < 400 {
					t.Errorf("cut with %q and %d, want %q", details, status, c.want)
				}
				e.end()
				e.neverNil(t)
			})
		})
	}
}

func TestP2_AStreamWithoutADecisionIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		action func(*proxy.Action)
		change func(*rig, *proxy.Action)
		want   string
	}{
		"no such action":     {nil, func(r *rig, a *proxy.Action) { a.ID = r.minter.NewActionID(r.world.Now()) }, "mayfly_internal"},
		"not to be guarded":  {func(a *proxy.Action) { a.Guard = false }, nil, "mayfly_internal"},
		"another path":       {nil, func(_ *rig, a *proxy.Action) { a.Path = "/admin" }, "mayfly_conflicting_headers"},
		"another method":     {nil, func(_ *rig, a *proxy.Action) { a.Method = "POST" }, "mayfly_conflicting_headers"},
		"another host":       {nil, func(_ *rig, a *proxy.Action) { a.Authority = "board.acme.example" }, "mayfly_conflicting_headers"},
		"decided long ago":   {nil, func(r *rig, _ *proxy.Action) { r.world.Pass(31 * time.Second); r.world.Pong() }, "mayfly_timeout"},
		"revoked since then": {nil, func(r *rig, _ *proxy.Action) { r.world.End(r.grant, grant.Revoked) }, "mayfly_revoked"},
		"the lease ran out":  {nil, func(r *rig, _ *proxy.Action) { r.world.Pass(15 * time.Second) }, "mayfly_stale"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				change := c.action
				if change == nil {
					change = func(*proxy.Action) {}
				}
				a := r.allow(change)
				if c.change != nil {
					c.change(r, &a)
				}
				e := r.open(a)
				if details, _ := e.cut(t); details != c.want {
					t.Errorf("refused with %q, want %q", details, c.want)
				}
				e.end()
				e.neverNil(t)
			})
		})
	}
}

func TestP2_AnActionIsGuardedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := r.allow()
		first := r.open(a)
		first.goes(t)
		second := r.open(a)
		if details, _ := second.cut(t); details != "mayfly_internal" {
			t.Errorf("a second stream under one action: %q", details)
		}
		first.end()
		second.end()
		first.neverNil(t)
		second.neverNil(t)
	})
}

// Whatever Envoy says or does, the guard does not end in good order while a request
// may live on.
func TestP4_TheGuardNeverEndsInGoodOrder(t *testing.T) {
	for name, do := range map[string]func(*envoy){
		"the caller goes":     func(e *envoy) { e.end() },
		"trailers, then gone": func(e *envoy) { e.say <- trailers(); <-e.told; e.end() },
		"a body that nobody asked for": func(e *envoy) {
			e.say <- &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				e := r.open(r.allow())
				e.goes(t)
				do(e)
				e.neverNil(t)
				e.end()
			})
		})
	}
	t.Run("no headers first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			e := r.open(r.allow())
			<-e.told
			e.end()
			<-e.over
			again := r.open(r.allow())
			<-again.told
			again.end()
			again.neverNil(t)
		})
	})
}

func trailers() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}}
}

func TestAGRPCCallerIsToldInItsWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := r.open(r.allow(), "content-type", "application/grpc+proto")
		e.goes(t)
		r.world.End(r.grant, grant.Revoked)
		i := e.hears(t).GetImmediateResponse()
		if i.GetGrpcStatus().GetStatus() != 7 || !strings.Contains(string(i.GetBody()), "revoked") {
			t.Errorf("%v", i)
		}
		e.end()
		e.neverNil(t)
	})
}
