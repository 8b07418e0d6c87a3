package hop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

func TestP3_TheLastLookComesAfterTheHandshake(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*rig)
		want grant.Reason
	}{
		"revoked":        {func(r *rig) { r.world.End(r.grant, grant.Revoked) }, grant.Revoked},
		"finished":       {func(r *rig) { r.world.End(r.grant, grant.Ended) }, grant.Ended},
		"policy changed": {func(r *rig) { r.world.End(r.grant, grant.PolicyChanged) }, grant.PolicyChanged},
		"lease lost":     {func(r *rig) { r.world.Pass(15 * time.Second) }, grant.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			var r *rig
			r = newRig(t, ok, bend{
				upstream: duringHandshake(func() { c.end(r) }),
				gate:     func(w *proxytest.World) Gate { return deaf{w.Table} },
			})
			got := r.do(r.request(r.allow()))
			if got.reason() != c.want || r.dials.Load() != 1 {
				t.Errorf("%d %s after %d connections, want %s", got.status, got.body, r.dials.Load(), c.want)
			}
			r.notSent(c.want)
		})
	}
}

// A key of tokens that is removed while the app is called: what was decided by a token
// of it is not sent.
func TestP3_TheLastLookAsksForTheTokensKey(t *testing.T) {
	key := proxytest.NewIssuer(t).Key()
	var r *rig
	r = newRig(t, ok, bend{
		upstream: duringHandshake(func() { r.world.Remove(&feed.Removal{Kind: feed.KindKey, Id: key.GetId(), Reason: "revoked"}) }),
		gate:     func(w *proxytest.World) Gate { return deaf{w.Table} },
	})
	r.world.Add(key)
	got := r.do(r.request(r.allow(func(a *proxy.Action) { a.Key = key.GetId() })))
	if got.reason() != grant.BadToken || r.dials.Load() != 1 {
		t.Errorf("%d %s after %d connections, want bad_token", got.status, got.body, r.dials.Load())
	}
	r.notSent(grant.BadToken)
}

// A kept connection has no handshake: the look before its next request is as strict.
func TestP3_AKeptConnectionOpensNothing(t *testing.T) {
	looks := 0
	var r *rig
	r = newRig(t, ok, bend{gate: func(w *proxytest.World) Gate {
		return gateFunc{deaf{w.Table}, func() {
			if looks++; looks == 2 {
				r.world.End(r.grant, grant.Revoked)
			}
		}}
	}})
	if got := r.do(r.request(r.allow(reading))); got.status != 200 {
		t.Fatal(got.status, got.body)
	}
	second := r.allow(reading)
	got := r.do(r.request(second))
	if o := r.outcomeOf(second, 2); got.reason() != grant.Revoked || o.Result != audit.ResultNotSent || o.Reason != "revoked" || r.asked.Load() != 1 {
		t.Fatalf("%d %s; outcome %+v; asked %d times", got.status, got.body, o, r.asked.Load())
	}
}

// gateFunc runs before each last look.
type gateFunc struct {
	deaf
	before func()
}

func (g gateFunc) LastLook(id grant.GrantID, action grant.ActionID, deadline time.Time, act func() error) error {
	g.before()
	return g.deaf.LastLook(id, action, deadline, act)
}

func TestP3_AnEndCutsAnAnswerOnBothSides(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(*rig)
		endedBy string
	}{
		"revoked":              {func(r *rig) { r.world.End(r.grant, grant.Revoked) }, "grant"},
		"its time":             {func(r *rig) { r.world.Pass(time.Hour) }, "deadline"},
		"the action's own":     {func(r *rig) { r.world.Pass(time.Minute) }, "deadline"},
		"the lease":            {func(r *rig) { r.world.Pass(15 * time.Second) }, "lease"},
		"the upstream's":       {func(r *rig) { r.upstream.CloseClientConnections() }, "upstream"},
		"the caller goes":      {nil, "caller"},
		"time moved by a jump": {func(r *rig) { r.world.PongTelling(2 * time.Hour) }, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
				defer close(gone)
				_, _ = io.WriteString(w, "beginning")
				w.(http.Flusher).Flush()
				<-q.Context().Done()
			}, bend{})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			resp, err := http.DefaultTransport.RoundTrip(r.request(r.allow(reading)).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if _, err := io.ReadFull(resp.Body, make([]byte, len("beginning"))); err != nil {
				t.Fatal(err)
			}
			if c.end != nil {
				c.end(r)
			} else {
				leave()
			}
			if b, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the caller sees a whole answer: %q", b)
			}
			<-gone // the upstream sees the end too
			if o := r.outcome(); o.Result != audit.ResultSent || o.EndedBy != c.endedBy || o.Bytes != 9 {
				t.Errorf("outcome %+v, want ended by %s", o, c.endedBy)
			}
		})
	}
}

func TestP3_AnEndCutsAnUpstreamThatDoesNotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(*rig)
		want    grant.Reason
		endedBy string
	}{
		"revoked":          {func(r *rig) { r.world.End(r.grant, grant.Revoked) }, grant.Revoked, "grant"},
		"its time":         {func(r *rig) { r.world.Pass(time.Hour); r.world.Pong() }, grant.Ended, "deadline"},
		"the action's own": {func(r *rig) { r.world.Pass(time.Minute); r.world.Pong() }, grant.Timeout, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, gone := make(chan struct{}), make(chan struct{})
			r := newRig(t, func(_ http.ResponseWriter, q *http.Request) {
				close(asked)
				<-q.Context().Done()
				close(gone)
			}, bend{})
			go func() { <-asked; c.end(r) }()
			got := r.do(r.request(r.allow()))
			<-gone
			if got.reason() != c.want || !strings.Contains(got.body, "whether it acted is not known") {
				t.Errorf("%d %s, want %s", got.status, got.body, c.want)
			}
			if o := r.outcome(); o.Result != audit.ResultUnknown || o.Reason != string(c.want) || o.EndedBy != c.endedBy {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

func TestP3_ARevokeDoesNotWaitForAnUpload(t *testing.T) {
	r := newRig(t, ok, bend{})
	a := r.allow()
	pipe, feedBody := io.Pipe()
	q := r.request(a)
	q.Body, q.ContentLength = pipe, int64(len(form))
	go func() {
		_, _ = io.WriteString(feedBody, form[:5])
		r.world.End(r.grant, grant.Revoked)
	}()
	if got := r.do(q); got.reason() != grant.Revoked && got.err == nil {
		t.Errorf("%d %s", got.status, got.body)
	}
	_ = feedBody.Close()
	r.notSent(grant.Revoked)
}

func TestP3_ARevokeDoesNotWaitForACallerThatReadsNothing(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}, bend{})
	a := r.allow(reading)
	c, err := net.Dial("tcp", r.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", a.Path, a.Authority, ActionHeader, a.ID)
	if _, err := bufio.NewReaderSize(c, 16).ReadByte(); err != nil {
		t.Fatal(err)
	}
	r.stuck.wait(t)
	r.world.End(r.grant, grant.Revoked)
	if o := r.outcome(); o.Result != audit.ResultSent || o.EndedBy != "grant" {
		t.Errorf("outcome %+v", o)
	}
}
