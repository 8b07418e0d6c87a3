package history

import (
	"context"
	"sync"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

// plane is one mayflyd.
type plane struct {
	store   *replica
	service *access.Service
	server  *feed.Server
	ctx     context.Context // of its verbs
	kill    context.CancelFunc
	wg      sync.WaitGroup
	next    *storetest.Fault // of its next verb
}

// start runs a mayflyd over the database.
func (w *world) start() *plane {
	p := &plane{store: newReplica(w.db)}
	p.ctx, p.kill = context.WithCancel(context.Background())
	var err error
	p.service, err = access.New(access.Config{
		Unsettled: true,
		Store:     p.store, Signer: w.signer.Signer, Minter: grant.NewMinter(), Policy: options(), Wake: func() { p.server.Wake() },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.server, err = feed.NewServer(feed.ServerConfig{Source: p.service.Source(), Peer: func(context.Context) (string, error) { return gateway, nil }})
	if err != nil {
		w.t.Fatal(err)
	}
	p.wg.Go(func() { _ = p.server.Run(p.ctx) })
	return p
}

// stop kills it: what it was doing is not done, and nobody is told.
func (p *plane) stop() {
	p.kill()
	p.wg.Wait()
	p.store.Heal()
	p.store.catchUp()
}

// verb starts a verb. One that waits goes on when the fault is over.
func (p *plane) verb(f func(context.Context) error) {
	if p.next != nil {
		p.store.Inject(*p.next)
		p.next = nil
	}
	p.wg.Go(func() { _ = f(p.ctx) })
}
