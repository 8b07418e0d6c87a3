package audit

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// leafLine is one line of the leaves' files.
type leafLine struct {
	hash Hash
	rec  Record
	err  error // of Decode
}

// leaves checks the control log and hands its good leaves on.
func (v *verification) leaves() {
	found, index := v.readLeaves()
	v.report.Leaves = int64(len(found))
	at, proven := v.place(found, index)
	v.whole = v.whole || proven != nil && !slices.Contains(at, -1)
	v.checkKept(hashesOf(found), proven)
	v.checkNodes(hashesOf(found), proven)
	for entry, line := range at {
		if line >= 0 {
			v.leaf(int64(entry), found[line])
		}
	}
	if !v.whole {
		v.unchecked("whether every frame is anchored, every grant known and every intent acknowledged: not all leaves are proven")
	}
}

// readLeaves returns the lines found, and the untrusted index, which has the
// zero Hash where a line of it is missing.
func (v *verification) readLeaves() (found []leafLine, index []Hash) {
	names := v.files(leavesDir)
	for first := int64(0); first < v.report.Checkpoint.Size || len(names) > 0; first += leavesPerFile {
		data, hashes := leavesFile(first, leavesExt), leavesFile(first, hashesExt)
		if !v.signed && !names[data] && !names[hashes] {
			break
		}
		b, err := os.ReadFile(filepath.Join(v.dir, data))
		if err != nil && (names[data] || first < v.report.Checkpoint.Size) {
			v.problem(filePlace(data), ReasonFile, "cannot be read: %v", errors.Unwrap(err))
		}
		for _, line := range lines(b) {
			rec, err := Decode(line)
			found = append(found, leafLine{hash: leafHash(line), rec: rec, err: err})
		}
		if names[hashes] {
			index = append(index, make([]Hash, max(0, first-int64(len(index))))...)
			index = append(index, readHashes(filepath.Join(v.dir, hashes))...)
		}
		delete(names, data)
		delete(names, hashes)
		if first >= v.report.Checkpoint.Size && b == nil {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		v.problem(filePlace(name), ReasonFile, "does not belong in this export")
	}
	return found, index
}

func hashesOf(found []leafLine) []Hash {
	out := make([]Hash, len(found))
	for i, l := range found {
		out[i] = l.hash
	}
	return out
}

// place says which line holds which entry, -1 for none: by what is signed, else
// by the untrusted index if that is what is signed, else by what each line says
// of itself. In the first two cases it returns the hashes that are signed.
func (v *verification) place(found []leafLine, index []Hash) (at []int, proven []Hash) {
	c, hashes := v.report.Checkpoint, hashesOf(found)
	fits := func(h []Hash) bool { return v.signed && int64(len(h)) == c.Size && merkleRoot(h) == c.Root }
	switch {
	case fits(hashes):
		v.compareIndex(hashes, index)
		return inOrder(len(hashes)), hashes
	case fits(index):
		a := align(byHash(hashes, index), len(index))
		v.reportAligned(a, "not what the checkpoint signs")
		return a.at, index
	case v.signed && int64(len(hashes)) > c.Size && merkleRoot(hashes[:c.Size]) == c.Root:
		v.problem(leafPlace(c.Size, int64(len(hashes))-1), ReasonExtra, "beyond the %d entries that the checkpoint signs", c.Size)
		return inOrder(int(c.Size)), hashes[:c.Size]
	}
	n := len(found)
	if v.signed {
		n = int(min(c.Size, int64(len(found))*2+leavesPerFile)) // a size that is far off is not worth its memory
	}
	a := align(bySeq(found), n)
	v.reportAligned(a, "no record that says it is this entry")
	v.unproven(hashes, index, a)
	return a.at, nil
}

// bySeq returns for each line the entry that it says it is, -1 for none.
func bySeq(found []leafLine) []int {
	claims := make([]int, len(found))
	for line, l := range found {
		claims[line] = -1
		if l.err == nil && l.rec.Seq < 1<<40 {
			claims[line] = int(l.rec.Seq)
		}
	}
	return claims
}

// compareIndex reports lines of the index that are not the hashes of proven entries.
func (v *verification) compareIndex(found, index []Hash) {
	for i := range max(len(found), len(index)) {
		if i < len(found) && i < len(index) && found[i] == index[i] {
			continue
		}
		at := int64(i)
		place := Place{File: leavesFile(at-at%leavesPerFile, hashesExt), First: at, Last: at}
		v.problem(place, ReasonIndex, "the .hashes line does not fit the entry; the entry itself is proven")
	}
}

func (v *verification) reportAligned(a alignment, changed string) {
	for _, r := range a.changed {
		v.problem(leafPlace(r.first, r.last), ReasonChanged, "%s", changed)
	}
	missing := "no line says that it is this entry"
	if v.signed {
		missing = fmt.Sprintf("the checkpoint signs %d entries", v.report.Checkpoint.Size)
	}
	for _, r := range a.missing {
		v.problem(leafPlace(r.first, r.last), ReasonMissing, "%s", missing)
	}
	for _, i := range a.moved {
		v.problem(leafPlace(i, i), ReasonOrder, "stands at another place")
	}
	for _, i := range a.twice {
		v.problem(leafPlace(i, i), ReasonDuplicate, "stands here more than once")
	}
	for _, i := range a.extra {
		v.problem(leafPlace(i, i), ReasonExtra, "before this entry stands a line that is no entry")
	}
}

// unproven says what can be said when neither the entries nor the index are what
// is signed.
func (v *verification) unproven(hashes, index []Hash, a alignment) {
	if !v.signed {
		v.unchecked("the root of the tree: no checkpoint holds")
	}
	named := !a.clean()
	for i := range min(len(hashes), len(index)) {
		if len(hashes) == len(index) && hashes[i] != index[i] && !a.names(int64(i)) {
			named = true
			v.problem(leafPlace(int64(i), int64(i)), ReasonChanged, "does not fit its .hashes line, and neither fits what is signed")
		}
	}
	if named || !v.signed {
		return
	}
	n, first := int64(len(hashes)), int64(0)
	for _, k := range v.keptHeads {
		if k.Size < n && merkleRoot(hashes[:k.Size]) == k.Root {
			first = k.Size
		}
	}
	v.problem(leafPlace(first, n-1), ReasonChanged,
		"the root is %s, not the signed %s: one or more of these entries were changed together with their .hashes lines",
		merkleRoot(hashes), v.report.Checkpoint.Root)
}

// checkKept compares the log with the checkpoints kept from before: what is
// proven of it, or what was found if the export's own checkpoint proves nothing.
func (v *verification) checkKept(found, proven []Hash) {
	n := int64(len(found))
	if v.signed {
		found, n = proven, v.report.Checkpoint.Size
	}
	for _, k := range v.keptHeads {
		switch {
		case k.Size > n:
			v.whole = false
			v.problem(leafPlace(n, k.Size-1), ReasonMissing, "a kept checkpoint signs %d entries", k.Size)
		case k.Size > int64(len(found)): // nothing is proven, and that is reported
		case merkleRoot(found[:k.Size]) != k.Root:
			v.whole = false
			v.problem(leafPlace(0, k.Size-1), ReasonDiverged, "not the history that a kept checkpoint of %d entries signs", k.Size)
		}
	}
}

// checkNodes says of each gateway whether the record continues what it keeps.
func (v *verification) checkNodes(found, proven []Hash) {
	n := int64(len(found))
	if v.signed {
		found, n = proven, v.report.Checkpoint.Size
	}
	for i, c := range v.nodeHeads {
		r := &v.report.Nodes[i]
		switch {
		case r.Problem != "":
		case c.Size > n:
			r.Problem = fmt.Sprintf("it keeps a signed checkpoint of %d entries, and there are %d", c.Size, n)
		case c.Size > int64(len(found)):
			r.Problem = "nothing can be said: the entries are not those that were signed"
		case merkleRoot(found[:c.Size]) != c.Root:
			r.Problem = fmt.Sprintf("the first %d entries are not those that its signed checkpoint is of", c.Size)
		}
	}
}

// leaf takes one entry that stands where it was signed.
func (v *verification) leaf(index int64, l leafLine) {
	place := leafPlace(index, index)
	switch {
	case l.err != nil:
		v.problem(place, ReasonForm, "%v", l.err)
	case l.rec.Seq != uint64(index):
		v.problem(place, ReasonForm, "holds seq %d", l.rec.Seq)
	case l.rec.Type.Where() != WhereLeaf:
		v.problem(place, ReasonForm, "type %s does not belong in the control log", l.rec.Type)
	case l.rec.Type == TypeSegmentAnchored:
		v.anchor(index, l.rec)
	default:
		if err := v.actions.leaf(index, l.rec); err != nil {
			v.problem(place, ReasonForm, "%v", err)
		}
	}
}
