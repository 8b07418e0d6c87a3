package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/test/env"
)

// The shape of a large table (design §9): two parameters of each grant are its own.
const (
	weighedPrincipals = 100_000
	weighedApps       = 200
	weighedPart       = 20_000 // grants that one change brings
)

type weighing struct {
	Count int
	Dir   string
}

type weighed struct {
	Bytes float64 // of heap a grant
	Built time.Duration
	GC    time.Duration // one whole collection with the table there
}

// weigh measures what one grant of many costs in the memory of one table.
func weigh(o options, n int) (float64, error) {
	dir, err := os.MkdirTemp("", "mf")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := start(roleMemory, o.log)
	if err != nil {
		return 0, err
	}
	var w weighed
	err = p.order(weighing{Count: n, Dir: dir})
	if err == nil {
		err = p.out.Decode(&w)
	}
	if ended := p.end(); err == nil {
		err = ended
	}
	if err != nil {
		return 0, fmt.Errorf("weigh a table: %w", err)
	}
	o.say("%d grants in one table: %.1f bytes each, told in %s; a collection takes %s", n, w.Bytes, w.Built.Round(time.Millisecond), w.GC.Round(time.Millisecond))
	return w.Bytes, nil
}

// playMemory fills a table the way the feed does, and says what stays of it.
func playMemory(ctx context.Context, s *stage) error {
	var w weighing
	if err := s.next(&w); err != nil {
		return err
	}
	clock, err := proxy.OpenClock(proxy.ClockConfig{Mark: filepath.Join(w.Dir, "clock")})
	if err != nil {
		return err
	}
	table, err := proxy.NewTable(proxy.TableConfig{Clock: clock, Sidecar: env.SidecarID})
	if err != nil {
		return err
	}
	before := heap()
	began := time.Now()
	if err := fill(ctx, table, clock, w.Count); err != nil {
		return err
	}
	built := time.Since(began)
	bytes := float64(heap()-before) / float64(w.Count)
	began = time.Now()
	runtime.GC()
	took := time.Since(began)
	if got := table.Status().Grants; got != w.Count {
		return fmt.Errorf("the table holds %d of %d grants", got, w.Count)
	}
	return s.tell(weighed{Bytes: bytes, Built: built, GC: took})
}

// heap is what is in use once everything that is not has gone.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func fill(ctx context.Context, t *proxy.Table, clock *proxy.Clock, n int) error {
	empty, err := t.Fill(feed.Position{Epoch: 1, Revision: 1})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if _, nacks, err := empty.Swap(ctx); err != nil || len(nacks) > 0 {
		return fmt.Errorf("begin: %v, %w", nacks, err)
	}
	ids := grant.NewMinter()
	for done, revision := 0, int64(2); done < n; done, revision = done+weighedPart, revision+1 {
		d := &feed.Delta{Epoch: 1, Revision: revision}
		for i := done; i < min(done+weighedPart, n); i++ {
			d.Resources = append(d.Resources, weighedGrant(ids, i))
		}
		if _, nacks, err := t.Apply(ctx, d); err != nil || len(nacks) > 0 {
			return fmt.Errorf("grants from %d on: %v, %w", done, nacks, err)
		}
		if err := pong(t, clock, revision); err != nil {
			return err
		}
	}
	return nil
}

// pong is what comes each second, and says that no grant waits for the time.
func pong(t *proxy.Table, clock *proxy.Clock, revision int64) error {
	return t.Ponged(clock.Boot(), &feed.Pong{Epoch: 1, Head: revision, CompleteTo: revision, TimeUs: time.Now().UnixMicro()})
}

// weighedGrant is one of refunds: of one charge, up to one amount.
func weighedGrant(ids *grant.Minter, n int) *feed.Resource {
	now := time.Now()
	who := n % weighedPrincipals
	charge := []*feed.Value{{Type: "string", Value: fmt.Sprintf("ch_%014d", n)}}
	return &feed.Resource{Id: ids.NewGrantID(now).String(), MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{
		Request: ids.NewRequestID(now).String(), Principal: fmt.Sprintf("spiffe://%s/ns/pay/sa/worker-%06d", env.TrustDomain, who),
		Pseudonym: fmt.Sprintf("p_%032d", who), App: fmt.Sprintf("app-%d", n%weighedApps), Entitlement: fmt.Sprintf("app-%d/refunds", n%weighedApps), Class: "money",
		NotBeforeUs: now.UnixMicro(), NotAfterUs: now.Add(time.Hour).UnixMicro(),
		Params: map[string]string{"charge": charge[0].Value, "amount_max": fmt.Sprint(100 + n)},
		Rules: []*feed.Rule{
			{Operation: "refunds.create", Where: []*feed.Constraint{
				{Attribute: "charge", Op: "is", Values: charge},
				{Attribute: "amount", Op: "max", Values: []*feed.Value{{Type: "minor_units", Value: fmt.Sprint(100 + n)}}},
			}},
			{Operation: "charges.retrieve", Where: []*feed.Constraint{{Attribute: "charge", Op: "is", Values: charge}}},
		},
	}}}
}
