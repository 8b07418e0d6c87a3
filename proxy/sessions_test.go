package proxy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// TestSessionsOverTheFeed tells a no from no answer, on a real connection.
func TestSessionsOverTheFeed(t *testing.T) {
	w := proxytest.NewEmptyWorld(t)
	src := feedtest.NewSource(time.Now)
	src.Front(sidecar, "panel")
	login := w.Login("", time.Hour)
	src.HandOver("code", "state", login.GetId(), login.GetSession())
	wire := feedtest.Serve(t, src, sidecar)
	instance, err := feed.NewInstance(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	client, err := feed.NewClient(feed.ClientConfig{
		Conn: wire.Dial(t), Instance: instance, Reader: proxy.Reader, Sink: w.Table, BootNow: proxy.BootNow,
	})
	if err != nil {
		t.Fatal(err)
	}
	s, ctx, hash := proxy.FeedSessions{Client: client}, t.Context(), hashOf(secretA)
	r, err := s.Redeem(ctx, "panel", "panel.acme.example", "code", "state", hash)
	if err != nil || r.GetId() != login.GetId() || [32]byte(r.GetSession().GetHash()) != hash {
		t.Fatalf("%v, %v", r, err)
	}
	if _, err := s.Redeem(ctx, "panel", "panel.acme.example", "code", "state", hash); grant.ReasonOf(err) != grant.LoginAgain {
		t.Errorf("a code counts twice: %v", err)
	}
	if out, err := s.Lookup(ctx, "panel", hash); err != nil || out.GetSession().GetId() != login.GetId() {
		t.Errorf("%v, %v", out, err)
	}
	if err := errors.Join(s.End(ctx, "panel", hash), s.End(ctx, "panel", hash)); err != nil {
		t.Error(err)
	}
	if out, err := s.Lookup(ctx, "panel", hash); err != nil || out.GetSession() != nil {
		t.Errorf("ended: %v, %v", out, err)
	}
	src.Intercept(func(context.Context, string) error { return errors.New("the database is away") })
	_, err = s.Redeem(ctx, "panel", "panel.acme.example", "code", "state", hash)
	_, err2 := s.Lookup(ctx, "panel", hash)
	var denial *grant.Denial
	for _, err := range []error{err, err2, s.End(ctx, "panel", hash)} {
		if err == nil || errors.As(err, &denial) {
			t.Errorf("no answer is %v", err)
		}
	}
}
