package guard

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// A stream that nobody decided about is held as any other: it is cut when its app is
// enforced, and goes on under no grant then.
func TestAnUndecidedStreamIsCutOnceTheAppIsEnforced(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"by policy": func(r *rig) {
			wiki := proxytest.Wiki()
			wiki.MinReader, wiki.GetApp().Guard, wiki.GetApp().MaxStreamUs = 4, true, 0
			r.world.Add(wiki)
		},
		"by its end": func(r *rig) { r.world.Pass(10 * time.Minute); r.world.Pong() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				wiki := proxytest.Wiki()
				wiki.MinReader, wiki.GetApp().Guard, wiki.GetApp().MaxStreamUs = 4, true, 0
				until := r.world.Now().Add(10 * time.Minute)
				r.world.Add(proxytest.Observed(wiki, until))
				a := r.allow(reading, func(a *proxy.Action) { a.Grant, a.Observed, a.Deadline, a.Limit = grant.GrantID{}, true, until, until })
				e := r.open(a)
				e.goes(t)
				e.quiet(t)
				end(r)
				e.cut(t)
				e.end()
				e.neverNil(t)
				if got := r.journal.Rebounds(); len(got) != 0 {
					t.Errorf("it went on under a grant: %+v", got)
				}
			})
		})
	}
}
