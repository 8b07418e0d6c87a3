package proxy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/proxy/spool"
)

// spooled is a desk whose journal is a spool on disk. The returned func ends the
// spool and reads what it holds.
func spooled(t testing.TB, ship func(context.Context, audit.Segment) (uint64, error)) (*desk, func() []audit.Record) {
	t.Helper()
	d, dir := newDesk(t), t.TempDir()
	s, err := spool.Open(spool.Config{Dir: dir, Node: "n", Minter: grant.NewMinter(), Now: d.world.Now, Ship: ship})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	end := sync.OnceFunc(func() { cancel(); <-ended; _ = s.Close() })
	t.Cleanup(end)
	d.build(s)
	return d, func() []audit.Record {
		end()
		b, err := os.ReadFile(filepath.Join(dir, "00000000000000000001.frames"))
		if err != nil {
			t.Fatal(err)
		}
		var out []audit.Record
		if _, err := audit.ScanFrames(b, audit.Hash{}, 1, func(e audit.Entry) error {
			out = append(out, e.Record)
			if strings.Contains(string(e.Frame.Record()), "sk_test_callers") {
				t.Errorf("the caller's credential is on record: %s", e.Frame.Record())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func away(context.Context, audit.Segment) (uint64, error) { return 0, errors.New("away") }

func TestP5_WhatWasAllowedIsInTheSpool(t *testing.T) {
	d, read := spooled(t, away)
	allowed, denied := d.check(d.refund(proxytest.Refunder)), d.check(d.refund(proxytest.Stranger))
	d.reserver.act = func(context.Context) error { d.world.End(d.stripe, grant.Revoked); return nil }
	late := d.check(d.refund(proxytest.Refunder))
	if !allowed.allowed || denied.allowed || late.allowed || late.reason != grant.Revoked {
		t.Fatalf("%+v\n%+v\n%+v", allowed, denied, late)
	}
	intents, outcomes, denials := map[string]bool{}, map[string]audit.Outcome{}, map[string]audit.Denied{}
	for _, r := range read() {
		var i audit.Intent
		var o audit.Outcome
		var n audit.Denied
		var err error
		switch r.Type {
		case audit.TypeActionIntent:
			err = r.Into(&i)
			intents[i.Action] = true
		case audit.TypeActionOutcome:
			err = r.Into(&o)
			outcomes[o.Action] = o
		case audit.TypeActionDenied:
			err = r.Into(&n)
			denials[n.Denial] = n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lateAction := denials[late.meta["denial"]].Action
	if len(intents) != 2 || !intents[allowed.meta["action"]] || !intents[lateAction] {
		t.Errorf("intents %v", intents)
	}
	if o := outcomes[lateAction]; len(outcomes) != 1 || o.Result != audit.ResultNotSent || o.Reason != "revoked" {
		t.Errorf("outcomes %+v", outcomes)
	}
	if n := denials[denied.meta["denial"]]; len(denials) != 2 || n.Code != "no_grant" || n.Principal != proxytest.Stranger || n.Operation != "refunds.create" {
		t.Errorf("denials %+v", denials)
	}
}

// Requests that race with revokes: whatever was allowed has its intent on record,
// before, and nothing is allowed after the revoke returned.
func TestP4_RevokesUnderTraffic(t *testing.T) {
	d, read := spooled(t, away)
	var mu sync.Mutex
	var wg sync.WaitGroup
	allowed := map[string]bool{}
	ended := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for range 40 {
				over := false
				select {
				case <-ended:
					over = true
				default:
				}
				v := d.check(d.refund(proxytest.Refunder))
				if v.allowed && over {
					t.Errorf("allowed after the revoke was acknowledged: %+v", v)
				}
				if v.allowed {
					mu.Lock()
					allowed[v.meta["action"]] = true
					mu.Unlock()
				} else if v.reason != grant.Revoked {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	wg.Go(func() {
		for done := false; !done; time.Sleep(time.Millisecond) {
			mu.Lock()
			done = len(allowed) > 50
			mu.Unlock()
		}
		d.world.End(d.stripe, grant.Revoked)
		close(ended)
	})
	wg.Wait()
	for _, r := range read() {
		if r.Type == audit.TypeActionIntent {
			var i audit.Intent
			if err := r.Into(&i); err != nil {
				t.Fatal(err)
			}
			delete(allowed, i.Action)
		}
	}
	if len(allowed) != 0 {
		t.Fatalf("%d were allowed without an intent", len(allowed))
	}
}

// FuzzCheck holds that no request makes Check panic, and that none is allowed
// without a grant that covers it.
func FuzzCheck(f *testing.F) {
	d := newDesk(f)
	for _, a := range []ask{d.refund(proxytest.Refunder), d.read(proxytest.Refunder)} {
		f.Add(uint8(0), a.sni, a.app, a.hop, a.method, a.authority, a.path, "content-type", "application/x-www-form-urlencoded", a.body)
	}
	f.Add(uint8(1), "wiki.acme.example", "wiki", false, "GET", "wiki.acme.example:1", "/%2e%2e/a;b?_method=x", "connection", "x-mayfly-action", "")
	f.Add(uint8(2), "", "", true, "\xff", "[::1", "*", ":path", "\x00", "\xff")
	who := []string{d.certificate(proxytest.Refunder), d.certificate(proxytest.Stranger), "", "%", "-----BEGIN%20CERTIFICATE-----"}
	f.Fuzz(func(t *testing.T, n uint8, sni, app string, hop bool, method, authority, path, name, value, body string) {
		d.t = t
		a := ask{
			certificate: who[int(n)%len(who)], sni: sni, app: app, hop: hop, method: method, authority: authority, path: path,
			headers: [][2]string{{"content-type", "application/x-www-form-urlencoded"}, {name, value}}, body: body,
		}
		if strings.EqualFold(name, "content-type") {
			a.headers = a.headers[1:]
		}
		v := d.check(a)
		if !v.allowed {
			if v.reason == "" || v.status == 0 {
				t.Fatalf("a refusal without a reason: %+v", v)
			}
			return
		}
		d.actions.Close(actionID(t, v.meta["action"]))
		i := d.journal.Intents()[len(d.journal.Intents())-1]
		refund := i.Operation == "refunds.create" && i.Attributes["charge"].Value == "ch_1" && len(i.Attributes["amount"].Value) <= 3
		read := i.Operation == "charges.retrieve" || i.Operation == "http.get" || i.Operation == "http.post"
		if int(n)%len(who) != 0 || !refund && !read || !strings.EqualFold(sni, strings.Split(authority, ":")[0]) || i.Action != v.meta["action"] {
			t.Fatalf("allowed %+v as %+v", a, i)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for name, of := range map[string]func(*desk) ask{
		"read":   func(d *desk) ask { return d.read(proxytest.Refunder) },
		"write":  func(d *desk) ask { return d.read(proxytest.Refunder).with(func(a *ask) { a.method = "POST" }) },
		"denied": func(d *desk) ask { return d.read(proxytest.Stranger) },
	} {
		b.Run(name, func(b *testing.B) {
			d, _ := spooled(b, away)
			m := of(d).message()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					v := d.judge(d.Check(context.Background(), m))
					if v.allowed {
						d.actions.Close(actionID(b, v.meta["action"]))
					}
				}
			})
		})
	}
}
