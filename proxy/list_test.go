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
		for range rapid.IntRange(1, 40).Draw(rt, "grants") {
			h := &held{packed: packed{id: mint.NewGrantID(noon()), notAfter: int64(rapid.IntRange(1, 4).Draw(rt, "end"))}}
			if rapid.Bool().Draw(rt, "past") {
				h.fate = &fate{past: true}
			}
			some = append(some, h)
		}
		var list []*held
		in := map[*held]bool{}
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			e, before := &relisting{}, slices.Clone(list)
			for _, h := range rapid.SliceOf(rapid.SampledFrom(some)).Draw(rt, "changed") {
				if in[h] {
					e.remove(h)
					delete(in, h)
				} else if !slices.Contains(e.gone, h) { // a draft makes another one
					e.add(h)
					in[h] = true
				}
			}
			was := list
			list = e.of(list)
			if want := slices.SortedFunc(maps.Keys(in), order); !slices.Equal(list, want) {
				rt.Fatalf("a list of %d is not the %d that it should be, in order", len(list), len(want))
			}
			if !slices.Equal(was, before) {
				rt.Fatal("the list before was changed")
			}
		}
	})
}
