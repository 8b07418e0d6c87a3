package feed

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"slices"
)

// bookRevisions is how many revisions a Book looks back (contracts §2).
const bookRevisions = 1024

// Book knows the digests that instances should have at each of the last 1,024
// revisions: what was told, counted as an instance counts it. Make it with NewBook,
// Load what is held there, then Apply every Change in order. It is not safe for
// concurrent use.
type Book struct {
	at        Position
	revisions []int64 // revisions with a change, the last 1,024, oldest first
	from      int64   // before it nothing is known
	parts     map[bookPart]*bookTally
}

// bookPart is what has a sum of its own: an app's grants and itself, the sessions on
// it, or the keys, which are of Everyone. An instance's digest "*" is that of the
// keys and of the sessions on every app that it fronts.
type bookPart struct {
	app  string
	star bool
}

// resourceName stands for kind and id: the first half of their SHA-256.
type resourceName [16]byte

func nameOf(kind, id string) resourceName {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	return resourceName(sum[:16])
}

type bookTally struct {
	sum  Digest
	held map[resourceName]Digest
	past []bookStep // what was before changes, oldest first
}

// bookStep is how it was before one resource changed at a revision.
type bookStep struct {
	revision int64
	name     resourceName
	one      Digest // of the resource; zero: it was not there
	sum      Digest
}

// NewBook returns a Book that begins at a position.
func NewBook(at Position) *Book {
	return &Book{at: at, from: at.Revision, parts: map[bookPart]*bookTally{}}
}

// At returns the newest position that the Book knows.
func (b *Book) At() Position { return b.at }

// Load takes in a resource of what is held where the Book begins, as it is told to
// the instances of an app.
func (b *Book) Load(app string, r *Resource) {
	if one, ok := DigestOf(r); ok {
		b.part(app, KindOf(r)).put(nameOf(KindOf(r), r.GetId()), one)
	}
}

// Apply takes in the next change.
func (b *Book) Apply(c Change) {
	b.at = c.At
	if n := len(b.revisions); n == 0 || b.revisions[n-1] != c.At.Revision {
		b.revisions = append(b.revisions, c.At.Revision)
	}
	if len(b.revisions) > bookRevisions {
		b.from = b.revisions[0]
		b.revisions = slices.Delete(b.revisions, 0, 1)
	}
	for _, r := range c.Removals {
		b.change(c, r.GetKind(), r.GetId(), Digest{})
	}
	for _, r := range c.Resources {
		if one, ok := DigestOf(r); ok {
			b.change(c, KindOf(r), r.GetId(), one)
		}
	}
}

func (b *Book) change(c Change, kind, id string, one Digest) {
	t, name := b.part(c.App, kind), nameOf(kind, id)
	keep := slices.IndexFunc(t.past, func(s bookStep) bool { return s.revision > b.from })
	if keep < 0 {
		keep = len(t.past)
	}
	t.past = append(slices.Delete(t.past, 0, keep), bookStep{c.At.Revision, name, t.held[name], t.sum})
	t.put(name, one)
}

func (t *bookTally) put(name resourceName, one Digest) {
	t.sum = t.sum.Minus(t.held[name]).Plus(one)
	if one == (Digest{}) {
		delete(t.held, name)
	} else {
		t.held[name] = one
	}
}

func (b *Book) part(app, kind string) *bookTally {
	p := bookPart{app: app, star: kind == KindSession || kind == KindKey}
	t, ok := b.parts[p]
	if !ok {
		t = &bookTally{held: map[resourceName]Digest{}}
		b.parts[p] = t
	}
	return t
}

// Opinion is what a Book says of a Ping.
type Opinion uint8

// The values of Opinion.
const (
	Unknown Opinion = iota // the Ping does not say, or the Book does not know yet
	Equal
	Different
	TooOld // further back than a Book looks, or of other apps than the instance fronts
)

// Judge compares the digests of a Ping with what an instance that fronts these apps
// should hold at the Ping's position, but for what it says it refused. apps names the
// differing ones.
func (b *Book) Judge(p *Ping, fronted []string) (o Opinion, apps []string) {
	at := Position{p.GetEpoch(), p.GetRevision()}
	switch {
	case len(p.GetDigests()) == 0, b.at.Before(at):
		return Unknown, nil
	case at.Epoch != b.at.Epoch, at.Revision < b.from, !sameApps(p.GetDigests(), fronted):
		return TooOld, nil
	}
	refused := refusedNames(p.GetUnheld())
	star := b.parts[bookPart{Everyone, true}].then(at.Revision, refused)
	for _, app := range fronted {
		star = star.Plus(b.parts[bookPart{app, true}].then(at.Revision, refused))
		if !bytes.Equal(p.GetDigests()[app], b.parts[bookPart{app, false}].then(at.Revision, refused).Bytes()) {
			apps = append(apps, app)
		}
	}
	if !bytes.Equal(p.GetDigests()[Everyone], star.Bytes()) {
		apps = append(apps, Everyone)
	}
	if len(apps) > 0 {
		return Different, apps
	}
	return Equal, nil
}

// then returns the sum at a revision, without what was refused.
func (t *bookTally) then(revision int64, refused []resourceName) Digest {
	if t == nil {
		return Digest{}
	}
	after := len(t.past)
	for after > 0 && t.past[after-1].revision > revision {
		after--
	}
	sum := t.sum
	if after < len(t.past) {
		sum = t.past[after].sum
	}
	for _, name := range refused {
		one := t.held[name]
		if i := slices.IndexFunc(t.past[after:], func(s bookStep) bool { return s.name == name }); i >= 0 {
			one = t.past[after+i].one
		}
		sum = sum.Minus(one)
	}
	return sum
}

// refusedNames are the names that Unheld may mean.
func refusedNames(list []*Unheld) []resourceName {
	seen := map[resourceName]bool{}
	for _, u := range list {
		kinds := []string{u.GetKind()}
		if u.GetKind() == "" {
			kinds = []string{KindApp, KindGrant, KindSession, KindKey}
		}
		for _, kind := range kinds {
			seen[nameOf(kind, u.GetId())] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
}

func sameApps(digests map[string][]byte, fronted []string) bool {
	n := 0
	for app := range digests {
		if app == Everyone {
			continue
		}
		if !slices.Contains(fronted, app) {
			return false
		}
		n++
	}
	return n == len(fronted)
}
