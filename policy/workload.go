package policy

import (
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// Owned says which team workloads belong to.
type Owned struct {
	ID    string // a SPIFFE ID, or one that ends in /*: everything below it
	Owner string
}

// OwnerOf returns whom a workload belongs to, "" if policy does not say. Of several
// entries that fit, the longest counts.
func (s *Set) OwnerOf(p identity.Principal) string {
	best := Owned{}
	for _, o := range s.owned {
		if o.fits(p) && len(o.ID) > len(best.ID) {
			best = o
		}
	}
	return best.Owner
}

func (o Owned) fits(p identity.Principal) bool {
	if below, all := strings.CutSuffix(o.ID, "*"); all {
		return p.Kind() == identity.KindWorkload && strings.HasPrefix(p.String(), below) && len(p.String()) > len(below)
	}
	return p.String() == o.ID
}

func (l *loader) readOwned(n *node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	for _, item := range l.list(n, "workloads") {
		f := l.object(item, schema{what: "workloads", known: []string{"id", "owner"}})
		at := f.need("id")
		id := l.text(at, "id")
		exact := id
		if below, all := strings.CutSuffix(id, "/*"); all {
			exact = below + "/x"
		}
		p, err := identity.ParsePrincipal(exact)
		switch {
		case id == "":
		case err != nil || p.Kind() != identity.KindWorkload:
			l.fail(at, CodeValue, "id: %q, want a SPIFFE ID, or one that ends in /*", id)
		case seen[id]:
			l.fail(at, CodeDuplicate, "workloads: %s is there twice", id)
		default:
			l.mustCount(at, "id", p, "")
		}
		seen[id] = true
		l.set.owned = append(l.set.owned, Owned{ID: id, Owner: l.name(f.need("owner"), "owner", false)})
	}
}
