package policy

import (
	"maps"
	"slices"
)

// maxPersonas is how many personas may list an entitlement before a warning says that
// it is no longer of one job.
const maxPersonas = 5

// Persona names what people or workloads in one job ask for. It gives nothing: who may
// ask is for the entitlements to say. Nobody changes it after Load.
type Persona struct {
	Name         string
	Owner        string
	Entitlements []string // and bundles, in the order of the file
	Who          []Subject
	File         string
	Line         int
}

// Personas returns all personas, sorted by name.
func (s *Set) Personas() []Persona {
	out := make([]Persona, 0, len(s.personas))
	for _, name := range slices.Sorted(maps.Keys(s.personas)) {
		out = append(out, s.personas[name])
	}
	return out
}

func (l *loader) readPersona(n *node) {
	f := l.object(n, schema{what: "persona", known: []string{"persona", "owner", "entitlements", "who"}})
	if f == nil {
		return
	}
	p := Persona{File: l.file, Line: n.line}
	at := f.need("persona")
	p.Name = l.name(at, "persona", false)
	l.named(at, "persona", p.Name, personasFolder)
	if other, ok := l.set.personas[p.Name]; ok && p.Name != "" {
		l.fail(at, CodeDuplicate, "persona: %s already stands in %s", p.Name, other.File)
		return
	}
	p.Owner = l.name(f.need("owner"), "owner", false)
	at = f.need("entitlements")
	p.Entitlements = l.texts(at, "entitlements")
	if at != nil {
		for _, item := range at.items {
			if !slices.Contains(l.set.names(), item.text) && !l.someEntitlements && item.text != "" {
				l.fail(item, CodeUnknownName, "entitlements: no entitlement or bundle %q%s", item.text, didYouMean(item.text, l.set.names()))
			}
		}
	}
	p.Who = l.subjects(f.need("who"), "who")
	if p.Name != "" {
		l.set.personas[p.Name] = p
	}
}
