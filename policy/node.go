package policy

import (
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// pendingApp is an app that a node names, checked when all apps are read.
type pendingApp struct {
	name        string
	environment string // of the node
	at          *node
}

func (l *loader) readNode(n *node) {
	f := l.object(n, schema{what: "nodes", known: []string{"sidecar", "listener", "role", "apps", "environment"}})
	if f == nil {
		return
	}
	out := Node{
		Sidecar:  l.workload(f.need("sidecar"), "sidecar"),
		Listener: l.workload(f.need("listener"), "listener"),
		Role:     l.word(f.need("role"), "role", []string{"gateway"}, []string{"caller", "agent"}),
		Apps:     l.texts(f.need("apps"), "apps"),
	}
	at := f.need("environment")
	out.Environment = l.text(at, "environment")
	if apps := f.opt("apps"); apps != nil {
		for _, item := range apps.items {
			l.nodeApps = append(l.nodeApps, pendingApp{item.text, out.Environment, item})
		}
	}
	l.mustCount(f.opt("sidecar"), "sidecar", out.Sidecar, out.Environment)
	l.mustCount(f.opt("listener"), "listener", out.Listener, out.Environment)
	if out.Environment != "" && !slices.Contains(l.set.environments, out.Environment) {
		l.fail(at, CodeUnknownName, "environment: no environment %q under environments:%s", out.Environment, didYouMean(out.Environment, l.set.environments))
	}
	l.set.nodes = append(l.set.nodes, out)
}

// workload reads a SPIFFE ID that no node has yet: sidecar and listener are two
// identities, and each opens its own services only (contracts §3).
func (l *loader) workload(n *node, what string) identity.Principal {
	text := l.text(n, what)
	if text == "" {
		return identity.Principal{}
	}
	p, err := identity.ParsePrincipal(text)
	if err != nil || p.Kind() != identity.KindWorkload {
		l.fail(n, CodeValue, "%s: %q, want the SPIFFE ID of a workload", what, text)
		return identity.Principal{}
	}
	if l.nodeIDs[p] {
		l.fail(n, CodeDuplicate, "%s: %s already stands under nodes:", what, p)
	}
	l.nodeIDs[p] = true
	return p
}

func (l *loader) checkNodeApps() {
	l.file = mainFile
	for _, a := range l.nodeApps {
		if _, ok := l.seenApps[a.name]; !ok && !l.someApps && a.name != "" {
			l.fail(a.at, CodeUnknownName, "apps: no app %q%s", a.name, didYouMean(a.name, keys(l.seenApps)))
		}
		if in := l.set.apps[a.name].Environments; len(in) > 0 && !slices.Contains(in, a.environment) {
			l.fail(a.at, CodeValue, "apps: %s is an app of %s, and the node is in %s", a.name, strings.Join(in, " and "), a.environment)
		}
	}
}
