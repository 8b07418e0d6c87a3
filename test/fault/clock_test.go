package fault

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// Contracts §1: a server's wall clock that is put back an hour moves nothing back.
// What has ended stays ended, what lives ends when it would have.
func TestP3_Contracts1_TheServersClockPutBackAnHour(t *testing.T) {
	for _, restart := range []bool{false, true} {
		// A mayflyd that starts from its mark is behind by the mark's age: then what is
		// granted from now on ends so much early at a gateway, and never late.
		early := map[bool]time.Duration{false: 0, true: 2 * bubble}[restart]
		t.Run(map[bool]string{false: "running", true: "with a restart"}[restart], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlane(t)
				g := newGateway(t, p)
				short := p.grant(10 * time.Second)
				settle(2 * bubble)
				g.want("in its term", "")
				settle(10 * time.Second)
				g.want("after its end", grant.Ended)
				before := g.Now()

				p.offset(-time.Hour)
				if restart {
					p.stop()
					p.start()
				}
				settle(5 * bubble)
				if now := g.Now(); now.Sub(before) != 5*bubble {
					t.Errorf("t moved by %s in %s", now.Sub(before), 5*bubble)
				}
				g.want("put back", grant.Ended)
				if s := p.state(short); s != grant.EndedState {
					t.Errorf("mayflyd shows the ended grant as %s", s)
				}
				if p.alarms.Load() != 1 {
					t.Errorf("%d alarms, want one", p.alarms.Load())
				}

				next := p.grant(time.Minute)
				settle(59*bubble - early)
				g.want("a second before the next grant's end", "")
				settle(bubble + early)
				g.want("at its end", grant.Ended)
				settle(early)
				if s := p.state(next); s != grant.EndedState {
					t.Errorf("mayflyd shows the next grant as %s", s)
				}
			})
		})
	}
}

// Put forward, grants end early and never late, and putting it right gives
// nothing back.
func TestP3_Contracts1_TheServersClockPutForwardAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		g := newGateway(t, p)
		id := p.grant(30 * time.Minute)
		settle(2 * bubble)
		g.want("before", "")
		p.offset(time.Hour)
		settle(2 * bubble)
		g.want("put forward", grant.Ended)
		p.offset(0)
		settle(2 * bubble)
		g.want("put right", grant.Ended)
		if s := p.state(id); s != grant.EndedState {
			t.Errorf("mayflyd shows it as %s", s)
		}
		p.grant(10 * time.Second)
		settle(9 * bubble)
		g.want("a second before the next grant's end", "")
		settle(bubble)
		g.want("at its end", grant.Ended)
	})
}

// Contracts §1: a Pong that is more than 30 s in the past is not believed, and
// everything is denied, until an operator resets the gateway's clock.
func TestP3_Contracts1_APongFromThePastDeniesUntilResetClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		g := newGateway(t, p)
		p.grant(2 * time.Hour)
		settle(2 * bubble)
		p.stop()
		copied := check[[]byte](t)(os.ReadFile(p.database()))

		p.offset(time.Hour)
		p.start()
		settle(5 * bubble)
		g.want("with the clock an hour ahead", "")
		p.stop()
		// Somebody puts the clock right and the database back: its mark is lost.
		for _, beside := range []string{"-wal", "-shm"} {
			if err := os.Remove(p.database() + beside); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p.database(), copied, 0o600); err != nil {
			t.Fatal(err)
		}
		p.offset(0)
		p.start()
		settle(5 * bubble)
		g.want("with a control plane an hour behind", grant.Clock)
		settle(time.Minute)
		g.want("a minute later", grant.Clock)
		if err := g.ResetClock(); err != nil {
			t.Fatal(err)
		}
		g.want("before it hears again", grant.Stale)
		settle(5 * bubble)
		g.want("after reset-clock", "")
	})
}
