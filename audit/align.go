package audit

import "slices"

// span is a run of entries, both ends included.
type span struct{ first, last int64 }

// alignment is how lines differ from the entries that should stand there.
type alignment struct {
	at      []int // entry → line, -1 if it is nowhere
	changed []span
	missing []span
	moved   []int64
	twice   []int64
	extra   []int64 // a line that is no entry stands before this one
}

func (a alignment) clean() bool {
	return len(a.changed)+len(a.missing)+len(a.moved)+len(a.twice)+len(a.extra) == 0
}

// names reports whether a says something about entry e.
func (a alignment) names(e int64) bool {
	in := func(s span) bool { return s.first <= e && e <= s.last }
	return slices.ContainsFunc(a.changed, in) || slices.ContainsFunc(a.missing, in) ||
		slices.Contains(a.moved, e) || slices.Contains(a.twice, e) || slices.Contains(a.extra, e)
}

func inOrder(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

// byHash returns for each line which of the wanted entries it is, -1 for none.
func byHash(found, want []Hash) []int {
	entryOf := make(map[Hash]int, len(want))
	for i, h := range want {
		entryOf[h] = i
	}
	claims := make([]int, len(found))
	for line, h := range found {
		e, ok := entryOf[h]
		if !ok {
			e = -1
		}
		claims[line] = e
	}
	return claims
}

// align takes for each line the entry that it is, -1 for none, and names what of
// n entries was changed, left out, moved, doubled or put in.
func align(claims []int, n int) alignment {
	a := alignment{at: slices.Repeat([]int{-1}, n)}
	var known []int   // lines that are some entry
	var entries []int // which
	for line, e := range claims {
		if e >= 0 && e < n {
			known, entries = append(known, line), append(entries, e)
		}
	}
	kept := longestIncreasing(entries)
	for _, k := range kept {
		a.at[entries[k]] = known[k]
	}
	inPlace := slices.Clone(a.at)
	a.strays(known, entries, kept)
	next := 0 // line after the last one in place
	gap := 0  // first entry not yet seen in place
	for e, line := range inPlace {
		if line >= 0 {
			a.gap(gap, e, strangers(claims[next:line], n))
			next, gap = line+1, e+1
		}
	}
	a.gap(gap, n, strangers(claims[next:], n))
	return a
}

// strangers counts the lines that are no entry.
func strangers(claims []int, n int) int {
	count := 0
	for _, e := range claims {
		if e < 0 || e >= n {
			count++
		}
	}
	return count
}

// strays sorts the known lines that are not in place.
func (a *alignment) strays(known, entries, kept []int) {
	inKept := make(map[int]bool, len(kept))
	for _, k := range kept {
		inKept[k] = true
	}
	for k, e := range entries {
		switch {
		case inKept[k]:
		case a.at[e] >= 0:
			a.twice = append(a.twice, int64(e))
		default:
			a.at[e] = known[k]
			a.moved = append(a.moved, int64(e))
		}
	}
}

// gap takes the entries from ≤ e < to that are not in place and the number of
// unknown lines that stand there instead.
func (a *alignment) gap(from, to, unknown int) {
	var gone []int64
	for e := from; e < to; e++ {
		if a.at[e] < 0 {
			gone = append(gone, int64(e))
		}
	}
	switch {
	case len(gone) == 0 && unknown == 0:
	case len(gone) == 0:
		a.extra = append(a.extra, int64(to))
	case unknown == 0:
		a.missing = append(a.missing, spans(gone)...)
	case unknown == len(gone):
		for _, e := range gone {
			a.changed = append(a.changed, span{e, e})
		}
	default:
		a.changed = append(a.changed, spans(gone)...)
	}
}

func spans(entries []int64) []span {
	var out []span
	for _, e := range entries {
		if n := len(out); n > 0 && out[n-1].last == e-1 {
			out[n-1].last = e
			continue
		}
		out = append(out, span{e, e})
	}
	return out
}

// longestIncreasing returns the indexes of a longest strictly increasing
// subsequence: the most entries that can be called in place.
func longestIncreasing(x []int) []int {
	var tails []int // tails[n] ends the best run of n+1
	before := make([]int, len(x))
	for i, v := range x {
		n, _ := slices.BinarySearchFunc(tails, v, func(t, v int) int { return x[t] - v })
		before[i] = -1
		if n > 0 {
			before[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	out := make([]int, len(tails))
	for n, i := len(tails)-1, -1; n >= 0; n-- {
		if i < 0 {
			i = tails[n]
		}
		out[n] = i
		i = before[i]
	}
	return out
}
