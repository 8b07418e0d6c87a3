package fault

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

// Contracts §2, freshness: a replica that is cut from its database answers no
// Ping, so that every gateway that it feeds denies when its lease has run out.
func TestP4_Contracts2_ADatabaseThatBlocksEndsEveryLease(t *testing.T) {
	for name, f := range map[string]storetest.Fault{
		"before the transaction": {Calls: storetest.All},
		"holding the head row":   {Calls: storetest.All, At: storetest.Within},
		"after the commit":       {Calls: storetest.All, At: storetest.After},
		"a disk that hangs":      {Calls: storetest.All, At: storetest.Within, Deaf: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testBlocked(t, f) })
		})
	}
}

func testBlocked(t *testing.T, f storetest.Fault) {
	p := newPlane(t)
	g := newGateway(t, p)
	id := p.grant(time.Hour)
	settle(3 * bubble)
	g.want("before", "")
	acked := []grant.ActionID{p.minter.NewActionID(g.Now())}
	if err := g.reserve(acked[0], id); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	asking, giveUp := context.WithCancel(t.Context())
	defer giveUp()

	p.faulty.Inject(f)
	go func() {
		_, err := p.service.Request(asking, p.refunder(), access.Ask{Entitlement: "stripe/refunds", Duration: time.Minute, IdempotencyKey: "k"})
		asked <- err
	}()
	unsure := p.minter.NewActionID(g.Now())
	if err := g.reserve(unsure, id); err == nil {
		t.Error("an intent was acknowledged by a database that blocks")
	}
	settle(lease - proxyDecides - 2*bubble)
	g.want("within the lease", "")
	settle(3 * bubble)
	g.want("after the lease", grant.Stale)
	settle(10 * time.Minute)
	g.want("minutes later", grant.Stale)
	select {
	case err := <-asked:
		if err == nil {
			t.Error("a request was answered by a database that blocks")
		}
	default:
	}

	p.faulty.Heal()
	settle(2 * lease)
	g.want("healed", "")
	giveUp()
	again := p.minter.NewActionID(g.Now())
	for _, a := range append(acked, unsure, again) {
		if err := g.reserve(a, id); err != nil {
			t.Errorf("healed: %v", err)
		}
	}
	p.reserved(append(acked, unsure, again))
}

// proxyDecides is how long a Check waits for the control plane.
const proxyDecides = 4500 * time.Millisecond

// reserved fails the test unless exactly these actions are on the record, each once.
func (p *plane) reserved(want []grant.ActionID) {
	p.t.Helper()
	got := map[string]int{}
	ctx := p.t.Context()
	err := p.faulty.View(ctx, func(tx access.Tx) error {
		size, err := tx.Log().Size(ctx)
		if err != nil {
			return err
		}
		leaves, err := tx.Log().ReadLeaves(ctx, 0, size)
		if err != nil {
			return err
		}
		for _, b := range leaves {
			leaf, err := audit.Decode(b)
			if err != nil {
				return err
			}
			var body audit.Reserved
			if leaf.Type != audit.TypeActionReserved {
				continue
			}
			if err := leaf.Into(&body); err != nil {
				return err
			}
			got[body.Action]++
		}
		return storetest.VerifyLog(ctx, tx.Log(), size)
	})
	if err != nil {
		p.t.Error(err)
	}
	for _, a := range want {
		if got[a.String()] != 1 {
			p.t.Errorf("%s was acknowledged and is %d times on record", a, got[a.String()])
		}
	}
	if len(got) != len(want) {
		p.t.Error(fmt.Errorf("%d actions on record, want %d", len(got), len(want)))
	}
}
