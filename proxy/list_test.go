package proxy

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/grant"
)

// However a list changes, it is what sorting all that it should hold gives, and what was
// there before stays as it was.
func TestAListIsInOrderWhateverChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mint, some := grant.NewMinter(), []*held{}
		for range rapid.IntRange(1, 5*partSize).Draw(rt, "grants") {
			some = append(some, &held{packed: packed{id: mint.NewGrantID(noon()), notAfter: int64(rapid.IntRange(1, 4).Draw(rt, "end"))}})
		}
		var l list
		in := map[*held]bool{}
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			c, was, before := &changes{}, slices.Clone(l), slices.Collect(l.all)
			for _, h := range rapid.SliceOfN(rapid.SampledFrom(some), 0, 5*partSize).Draw(rt, "changed") {
				if in[h] {
					c.remove(h)
					delete(in, h)
				} else if !slices.Contains(c.gone, h) { // a draft makes another one
					c.add(h)
					in[h] = true
				}
			}
			l = c.of(l)
			if want := slices.SortedFunc(maps.Keys(in), order); !slices.Equal(slices.Collect(l.all), want) {
				rt.Fatalf("it is not the %d that it should hold, in order", len(want))
			}
			if !slices.Equal(slices.Collect(was.all), before) {
				rt.Fatal("the list before was changed")
			}
			for _, part := range l {
				if len(part) == 0 || len(part) > partSize {
					rt.Fatalf("a part holds %d", len(part))
				}
			}
			for _, h := range some {
				if part, at, found := l.seek(h); found != in[h] || found && l[part][at] != h {
					rt.Fatalf("sought at %d of part %d: %v", at, part, found)
				}
			}
		}
	})
}
