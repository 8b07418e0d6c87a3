package proxy

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
)

// panelApp takes people and clients, has its streams guarded, and says what counts where.
func panelApp() *feed.Resource {
	return &feed.Resource{Id: "panel", MinReader: 5, Resource: &feed.Resource_App{App: &feed.App{
		Name: "panel", Kind: "web", Hosts: []string{"panel.acme.example"}, Upstream: "http://127.0.0.1:1", StaleAfterUs: 15e6,
		Callers: []string{"people", "services"}, Console: "https://mayfly.acme.example", Assert: true, Guard: true,
		Observe:  &feed.Observe{UntilUs: noon().Add(time.Hour).UnixMicro()},
		Identity: []*feed.IdentityHeader{{Header: "x-auth-name", Fact: "name"}},
		StepUp:   []*feed.StepUp{{Entitlement: "panel/write", MaxAgeUs: 1e6}, {Entitlement: "panel/admin", Acr: []string{"gold"}}},
		Places:   []*feed.Place{{Sidecar: "spiffe://acme.example/gw/other", Elsewhere: []string{"panel/admin"}}, {Sidecar: sidecarID, TrustDomains: []string{"acme.example"}}},
	}}}
}

const sidecarID = "spiffe://acme.example/gw/sidecar"

func loginOf(t *testing.T, hash byte) *feed.Resource {
	t.Helper()
	return &feed.Resource{Id: grant.NewMinter().NewSessionID(noon()).String(), MinReader: 2, Resource: &feed.Resource_Session{Session: &feed.Session{
		Hash: bytes.Repeat([]byte{hash}, 32), Principal: "user:idp:ada", Person: "ada", Pseudonym: "p_ada", App: "panel", Host: "panel.acme.example",
		Groups: []string{"group:idp/leads"}, Acr: "gold", AuthTimeUs: noon().UnixMicro(), EndsUs: noon().Add(time.Hour).UnixMicro(),
		Facts: map[string]string{"name": "Ada é", "email": "ada@acme.example"},
	}}}
}

// pair is a table, and a book that is told the same.
type pair struct {
	*memory
	book *feed.Book
}

func (p *pair) tell(app string, put []*feed.Resource, gone ...*feed.Removal) {
	p.t.Helper()
	p.delta(&feed.Delta{Resources: put, Removals: gone})
	p.book.Apply(feed.Change{At: p.at, App: app, Resources: put, Removals: gone})
}

func (p *pair) judge() (feed.Opinion, []string) {
	ping := &feed.Ping{Epoch: p.at.Epoch, Revision: p.at.Revision}
	p.Describe(ping)
	for _, app := range []string{"panel", "stripe", feed.Everyone} {
		if len(ping.GetDigests()[app]) == 0 { // as the feed's client does
			ping.Digests[app] = feed.Digest{}.Bytes()
		}
	}
	return p.book.Judge(ping, []string{"panel", "stripe"})
}

func (p *pair) equal(what string) {
	p.t.Helper()
	if o, apps := p.judge(); o != feed.Equal {
		p.t.Errorf("%s: %v, by %v", what, o, apps)
	}
	for tenth := range tenths {
		if !p.state.Load().intact(tenth) {
			p.t.Errorf("%s: tenth %d is not what was taken in", what, tenth)
		}
	}
}

func newPair(t *testing.T) (*pair, grant.GrantID) {
	t.Helper()
	m, id := newMemory(t), newIDs().next()
	m.sidecar = sidecarID
	stripe, panel, g := stripeApp(), panelApp(), refunds(id, refunder, time.Hour)
	m.swap(stripe, panel, g)
	m.pong(m.machine.plane())
	p := &pair{m, feed.NewBook(m.at)}
	p.book.Load("stripe", stripe)
	p.book.Load("panel", panel)
	p.book.Load("stripe", g)
	return p, id
}

func removal(kind, id string) *feed.Removal {
	return &feed.Removal{Kind: kind, Id: id, Reason: string(grant.Revoked)}
}

func TestATableCountsWhatItWasTold(t *testing.T) {
	p, id := newPair(t)
	p.equal("a snapshot")
	longer, login, key := refunds(id, refunder, 2*time.Hour), loginOf(t, 1), keyOf(t)
	p.tell("stripe", []*feed.Resource{longer})
	p.equal("a grant that changed")
	p.tell("stripe", nil, removal(feed.KindGrant, id.String()))
	p.equal("a grant that was revoked")
	p.tell("stripe", []*feed.Resource{longer})
	p.equal("the same grant, told again")
	p.tell("panel", []*feed.Resource{login})
	p.equal("a session")
	p.tell("panel", nil, removal(feed.KindSession, login.GetId()))
	p.equal("a session that ended")
	p.tell(feed.Everyone, []*feed.Resource{key, keyOf(t)})
	p.equal("keys")
	p.tell(feed.Everyone, []*feed.Resource{key}, removal(feed.KindKey, key.GetId()))
	p.equal("a key that went and came back")
	p.machine.pass(2 * time.Hour)
	p.equal("a grant whose time has passed, and nobody has recorded it")
	renamed := panelApp()
	renamed.GetApp().Hosts = []string{"board.acme.example"}
	p.tell("panel", []*feed.Resource{renamed})
	p.equal("an app that changed")
	p.tell("panel", nil, removal(feed.KindApp, "panel"))
	p.equal("an app that went")
}

// What a gateway must not hold it refuses, and says so: that alone is no reason for
// quarantine.
func TestATableNamesWhatItRefused(t *testing.T) {
	p, id := newPair(t)
	mint := newIDs()
	newer, clash := refunds(mint.next(), refunder, time.Hour), panelApp()
	newer.MinReader = Reader + 1
	p.tell("stripe", []*feed.Resource{newer})
	p.equal("a grant of a newer reader")
	clash.GetApp().Hosts = []string{"stripe.acme.example"}
	p.tell("panel", []*feed.Resource{clash})
	p.equal("an app with another's host")
	broken := refunds(id, refunder, 48*time.Hour)
	p.tell("stripe", []*feed.Resource{broken})
	p.equal("a held grant, told again beyond the cap")
	p.tell("stripe", []*feed.Resource{refunds(id, refunder, time.Hour)}, removal(feed.KindGrant, newer.GetId()))
	p.equal("mended, and removed")
	if ping := (&feed.Ping{}); len(p.state.Load().unheld) != 1 {
		p.Describe(ping)
		t.Errorf("it still refuses %v", ping.GetUnheld())
	}
}

// corrupt changes a held grant where it lies, and resurrect puts a removed one back,
// both behind the back of whatever counts.
func (t *Table) corrupt(id grant.GrantID, change func(*grant.Grant)) {
	h, _ := t.state.Load().byID.get(id)
	g := h.open()
	change(&g)
	t.smuggle(&held{packed: pack(g)})
}

func (t *Table) resurrect(h *held) { t.smuggle(&held{packed: h.packed}) }

func (t *Table) smuggle(h *held) {
	t.writing.Lock()
	defer t.writing.Unlock()
	s := *t.state.Load()
	s.byID, s.lists = s.byID.edit(), s.lists.edit()
	s.byID.put(h.id, h)
	s.list(h)
	t.state.Store(&s)
}

// list puts h into the list of its holder, in place of what has its id.
func (s *state) list(h *held) {
	old, _ := s.lists.get(h.holder())
	var c changes
	for o := range old.all {
		if o.id != h.id {
			c.add(o)
		}
	}
	c.add(h)
	s.lists.put(h.holder(), c.of(nil))
	s.byID.share()
	s.lists.share()
}

func TestATableFindsWhatItWasNeverTold(t *testing.T) {
	for name, spoil := range map[string]func(p *pair, id grant.GrantID){
		"a longer grant": func(p *pair, id grant.GrantID) {
			p.corrupt(id, func(g *grant.Grant) { g.NotAfter = g.NotAfter.Add(time.Hour) })
		},
		"a wider grant": func(p *pair, id grant.GrantID) { p.corrupt(id, func(g *grant.Grant) { g.Scope.Rules[0].Where = nil }) },
		"another's grant": func(p *pair, id grant.GrantID) {
			p.corrupt(id, func(g *grant.Grant) { g.Principal = principal(p.t, other) })
		},
		"an earlier start": func(p *pair, id grant.GrantID) { p.corrupt(id, func(g *grant.Grant) { g.NotBefore = time.Time{} }) },
		"a grant that was revoked": func(p *pair, id grant.GrantID) {
			h, _ := p.state.Load().byID.get(id)
			p.tell("stripe", nil, removal(feed.KindGrant, id.String()))
			p.resurrect(h)
		},
		"a wider grant, but for last looks": func(p *pair, id grant.GrantID) {
			h, _ := p.state.Load().byID.get(id)
			g := h.open()
			g.Scope.Rules[0].Where = nil
			s := *p.state.Load()
			s.byID, s.lists = s.byID.edit(), s.lists.edit()
			s.list(&held{packed: pack(g)})
			p.state.Store(&s)
		},
		"an app of another upstream": func(p *pair, _ grant.GrantID) { p.state.Load().apps["stripe"].Upstream.Host = "evil.example" },
		"an app that more may call": func(p *pair, _ grant.GrantID) {
			p.state.Load().apps["panel"].Here.TrustDomains = []string{"acme.example", "evil.example"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, id := newPair(t)
			spoil(p, id)
			for tenth := range tenths {
				p.recheck(tenth)
			}
			if o, apps := p.judge(); o != feed.Different {
				t.Fatalf("%v %v", o, apps)
			}
			if alarms := p.alarmed(); len(alarms) != 1 {
				t.Errorf("alarms %v", alarms)
			}
			p.swap(stripeApp(), panelApp(), refunds(newIDs().next(), refunder, time.Hour))
			for tenth := range tenths {
				p.recheck(tenth)
			}
			if p.strayed.Load() {
				t.Error("a snapshot that took the place of it all mends nothing")
			}
		})
	}
}

// One grant is corrupted, and one resurrected, in one of 1,000 gateways, each by
// itself: it is found, and that gateway alone gets no Pong until a snapshot has put it
// right, all within one lease.
func TestP4_OneSpoiltTableInAThousandIsFoundWithinALease(t *testing.T) {
	const nodes, grants, lease = 1000, 10, 15 * time.Second
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		now := func() time.Time { return noon().Add(time.Since(began)) }
		source := feedtest.NewSource(now)
		source.Front(sidecarID, "stripe")
		source.Put("stripe", stripeApp())
		mint, ids := grant.NewMinter(), []grant.GrantID{}
		for range grants {
			id := mint.NewGrantID(now())
			ids = append(ids, id)
			source.Put("stripe", refunds(id, refunder, time.Hour))
		}
		wire := feedtest.Serve(t, source, sidecarID)
		conn := wire.Dial(t)
		dir := t.TempDir()
		tables, instances := make([]*Table, nodes), make([]feed.Instance, nodes)
		boot := func() time.Duration { return time.Since(began) + time.Hour }
		var run errgroup.Group
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); _ = run.Wait() }()
		for i := range nodes {
			clock, err := OpenClock(ClockConfig{Boot: boot, Mark: filepath.Join(dir, fmt.Sprint(i))})
			if err != nil {
				t.Fatal(err)
			}
			if tables[i], err = NewTable(TableConfig{Clock: clock, Sidecar: sidecarID}); err != nil {
				t.Fatal(err)
			}
			if instances[i], err = feed.NewInstance(sidecarID); err != nil {
				t.Fatal(err)
			}
			client, err := feed.NewClient(feed.ClientConfig{Conn: conn, Instance: instances[i], Reader: Reader, Sink: tables[i], BootNow: boot})
			if err != nil {
				t.Fatal(err)
			}
			run.Go(func() error { return client.Run(ctx) })
			run.Go(func() error { return tables[i].Run(ctx) })
		}
		time.Sleep(3 * time.Second)
		if found := source.Strayed(); len(found) != 0 {
			t.Fatalf("found before anything is wrong: %v", found)
		}
		for what, spoil := range map[string]func(*Table){
			"corrupted": func(v *Table) { v.corrupt(ids[3], func(g *grant.Grant) { g.Scope.Rules[0].Where = nil }) },
			"resurrected": func(v *Table) {
				h, _ := v.state.Load().byID.get(ids[4])
				source.Remove("stripe", "revoked", ids[4].String())
				wire.Server.Wake()
				time.Sleep(2 * time.Second)
				v.resurrect(h)
			},
		} {
			before, at := len(source.Strayed()), now()
			spoil(tables[617])
			for len(source.Strayed()) < before+2 && now().Sub(at) < lease {
				time.Sleep(100 * time.Millisecond)
			}
			found := source.Strayed()[before:]
			if len(found) != 2 || found[0].Instance != instances[617] || found[1].Instance != instances[617] || len(found[0].Apps) == 0 || len(found[1].Apps) != 0 {
				t.Fatalf("%s: found %v, want gateway 617 differing once and then equal", what, found)
			}
			t.Logf("%s: in quarantine after %s, put right after %s", what, found[0].At.Sub(at), found[1].At.Sub(at))
			if err := tables[617].Look(ids[4], now()); what == "resurrected" && grant.ReasonOf(err) != grant.Revoked {
				t.Errorf("the grant that came back: %v", err)
			}
			if h, _ := tables[617].state.Load().byID.get(ids[3]); what == "corrupted" && len(h.open().Scope.Rules[0].Where) == 0 {
				t.Error("the corrupted grant is still held")
			}
		}
	})
}
