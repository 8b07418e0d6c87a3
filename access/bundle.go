package access

import (
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
)

// maxBundles bounds what one instance may say of its foreign bundles.
const maxBundles = 256

// Bundle is how it stands with the bundle of a foreign trust domain, at mayflyd or
// at one instance.
type Bundle struct {
	Holder      string // an instance, or mayflyd
	TrustDomain string
	Fetched     time.Time // when the domain's endpoint last told it; zero: not since the holder's start
	Authorities int       // 0: nobody of the domain is trusted there
	Problem     string    // of the newest try, "" if there is none
}

// bundleBook remembers what instances said of their foreign bundles. It is memory
// only: after a restart of mayflyd the next Pings fill it. The zero value is ready.
type bundleBook struct {
	mu   sync.Mutex
	said map[feed.Instance][]Bundle
}

// heard notes what a batch of Pings tells.
func (b *bundleBook) heard(beats []feed.Beat, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, beat := range beats {
		told := beat.Ping.GetBundles()
		if len(told) == 0 {
			delete(b.said, beat.Instance)
			continue
		}
		if b.said == nil {
			b.said = map[feed.Instance][]Bundle{}
		}
		var list []Bundle
		for _, one := range told[:min(len(told), maxBundles)] {
			list = append(list, bundleOf(beat.Instance, one, at))
		}
		b.said[beat.Instance] = list
	}
}

func bundleOf(i feed.Instance, m *feed.ForeignBundle, at time.Time) Bundle {
	out := Bundle{Holder: i.String(), TrustDomain: clip(m.GetTrustDomain()), Authorities: int(m.GetAuthorities()), Problem: clipLong(m.GetProblem())}
	if m.GetAgeUs() >= 0 {
		out.Fetched = at.Add(-time.Duration(m.GetAgeUs()) * time.Microsecond)
	}
	return out
}

// of returns what the instances say, and forgets all others.
func (b *bundleBook) of(instances []Instance) []Bundle {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Bundle
	for i := range b.said {
		if !slices.ContainsFunc(instances, func(o Instance) bool { return o.ID == i }) {
			delete(b.said, i)
		}
	}
	for _, i := range instances {
		out = append(out, b.said[i.ID]...)
	}
	return out
}
