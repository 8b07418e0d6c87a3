package policy

import (
	"slices"

	"github.com/mayflyproxy/mayfly/identity"
)

// readOnward reads to which other apps the app of an entitlement may pass access
// on: it exchanges the token that it was called with for one that names them. None
// is the default.
func (l *loader) readOnward(e *Entitlement, n *node) {
	if n == nil {
		return
	}
	items := n.items
	for i, name := range l.texts(n, "onward") {
		at := items[min(i, len(items)-1)]
		_, known := l.seenApps[name]
		switch {
		case name == e.App:
			l.fail(at, CodeValue, "onward: %s is the entitlement's own app", name)
		case name == OwnApp:
			l.fail(at, CodeValue, "onward: nobody passes access to Mayfly itself on")
		case !known && !l.someApps:
			l.fail(at, CodeUnknownName, "onward: no app %q under apps/%s", name, didYouMean(name, keys(l.seenApps)))
		default:
			e.Onward = append(e.Onward, name)
		}
	}
	slices.Sort(e.Onward)
	if a, ok := l.set.apps[e.App]; ok && a.Workload.IsZero() {
		l.fail(n, CodeMissing, "onward: app %s says no workload:, and only that may exchange its tokens", e.App)
	}
}

// readWorkload reads with which SPIFFE ID an app itself speaks.
func (l *loader) readWorkload(n *node) identity.Principal {
	text := l.text(n, "workload")
	if text == "" {
		return identity.Principal{}
	}
	p, err := identity.ParsePrincipal(text)
	if err != nil || p.Kind() != identity.KindWorkload {
		l.fail(n, CodeValue, "workload: %q, want a SPIFFE ID such as spiffe://acme.example/ns/web/sa/shop", text)
		return identity.Principal{}
	}
	for _, other := range l.set.apps {
		if other.Workload == p {
			l.fail(n, CodeDuplicate, "workload: %s speaks for app %s already", text, other.Name)
			return identity.Principal{}
		}
	}
	return p
}
