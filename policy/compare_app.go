package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// apps compares the apps, and notes which are new.
func (c *comparing) apps() {
	had := tracesOf(c.before)
	for _, name := range both(c.before.apps, c.after.apps) {
		was, before := c.before.apps[name]
		now, still := c.after.apps[name]
		a := at{c: c, what: "app " + name, file: now.File, line: now.Line}
		switch {
		case !still:
			a.file, a.line = was.File, 0
			a.loses("app %s is removed", name)
		case before:
			c.app(a, was, now)
			c.catalogue(a, name)
		case name == OwnApp: // of the first policy
		default:
			c.adds = append(c.adds, now)
			if shared := had.overlap(now); shared != "" {
				a.gains("app %s is new, and shares %s", name, shared)
			} else {
				a.add(Gains, false, "app %s is new", name)
			}
		}
	}
}

// isNew reports whether an app is one that the later policy adds.
func (c *comparing) isNew(name string) bool {
	return slices.ContainsFunc(c.adds, func(a App) bool { return a.Name == name })
}

func (c *comparing) catalogue(a at, name string) {
	if was, now := c.before.catalogues[name], c.after.catalogues[name]; was.Digest() != now.Digest() {
		a.differs("its operations are others: catalogue %s, was %s", short(now.Digest()), short(was.Digest()))
	}
}

func short(digest string) string { return digest[:min(12, len(digest))] }

// app compares an app that both have.
func (c *comparing) app(a at, was, now App) {
	if was.Owner != now.Owner {
		a.says("owner: %s, was %s", now.Owner, was.Owner)
	}
	if was.Kind != now.Kind {
		a.differs("kind: %s, was %s", now.Kind, was.Kind)
	}
	a.set("hosts", was.Hosts, now.Hosts)
	if was.Resource() != now.Resource() { // what tokens name as their audience
		a.differs("its resource is %s, was %s", wordOf(now.Resource()), wordOf(was.Resource()))
	}
	a.set("callers", was.Callers, now.Callers)
	if w, n := upstreamText(was), upstreamText(now); w != n {
		a.differs("upstream: %s, was %s", wordOf(n), wordOf(w))
	}
	a.credentials(was, now)
	// A header that is no longer the gateway's may be the caller's.
	if w, n := identityText(was), identityText(now); w != n {
		a.differs("identity: %s, was %s", wordOf(n), wordOf(w))
	}
	if was.Assert != now.Assert {
		a.differs("assert: %t, was %t", now.Assert, was.Assert)
	}
	shrinks(a, "stale_after", was.StaleAfter, now.StaleAfter, durationText)
	if was.MaxStream == 0 || now.MaxStream == 0 { // the gateway's own, whatever that is
		if was.MaxStream != now.MaxStream {
			a.differs("max_stream: %s, was %s", longOrUnsaid(now.MaxStream), longOrUnsaid(was.MaxStream))
		}
	} else {
		shrinks(a, "max_stream", was.MaxStream, now.MaxStream, durationText)
	}
	if was.Guard != now.Guard { // guarded streams last longer, others are not cut
		a.differs("streams: guard is %t, was %t", now.Guard, was.Guard)
	}
	switch {
	case was.Workload == now.Workload:
	case now.Workload.IsZero():
		a.loses("workload: none, was %s", was.Workload)
	default:
		a.differs("workload: %s, was %s", now.Workload, wordOf(was.Workload.String()))
	}
	a.open("environments", was.Environments, now.Environments)
	a.observed(was, now)
	if was.Catalogue != now.Catalogue {
		a.differs("its catalogue is another")
	}
	a.rest(restOfApp(was), restOfApp(now))
}

func restOfApp(a App) App {
	a.File, a.Line = "", 0 // where it stands decides nothing
	a.Name, a.Kind, a.Owner, a.Hosts, a.Callers, a.Upstream, a.HTTP2 = "", "", "", nil, nil, nil, false
	a.Credentials, a.Identity, a.Assert, a.StaleAfter, a.MaxStream, a.Guard = nil, nil, false, 0, 0, false
	a.Workload, a.Catalogue, a.Environments, a.Observe = identity.Principal{}, "", nil, false
	return a
}

// observed compares until when nobody is denied on the app. That it is enforced again
// by its end is no change of policy.
func (a at) observed(was, now App) {
	w, _ := a.c.before.Observed(was.Name)
	n, _ := a.c.after.Observed(now.Name)
	switch {
	case was.Observe == now.Observe && w.Until.Equal(n.Until):
	case !now.Observe:
		a.loses("mode: enforce, was observe")
	case !was.Observe:
		a.gains("mode: observe %s: whoever is proven passes, with a credential of their own", untilText(n))
	case n.Until.IsZero() || !w.Until.IsZero() && n.Until.After(w.Until):
		a.gains("mode: observe %s, was %s", untilText(n), untilText(w))
	default:
		a.loses("mode: observe %s, was %s", untilText(n), untilText(w))
	}
}

func untilText(o Observation) string {
	if o.Until.IsZero() {
		return "without an end"
	}
	return "until " + o.Until.Format(time.RFC3339)
}

func longOrUnsaid(d time.Duration) string {
	if d == 0 {
		return "unsaid"
	}
	return durationText(d)
}

func upstreamText(a App) string {
	out := ""
	if a.Upstream != nil {
		out = a.Upstream.String()
	}
	if a.HTTP2 {
		out += " by HTTP/2"
	}
	return out
}

func identityText(a App) string {
	var out []string
	for _, h := range a.Identity {
		out = append(out, fmt.Sprintf("%+v", h))
	}
	return strings.Join(out, ", ")
}

// credentials compares what is done with which secret. Without any the app would be
// reached without one.
func (a at) credentials(was, now App) {
	of := func(list []Credential) map[string]string {
		out := map[string]string{}
		for _, c := range list {
			for _, operation := range c.Operations {
				out[operation] = c.Secret
			}
		}
		return out
	}
	w, n := of(was.Credentials), of(now.Credentials)
	for _, operation := range both(w, n) {
		switch {
		case w[operation] == n[operation]:
		case n[operation] == "" && len(n) > 0:
			a.loses("credential: none for %s, was %s", operation, w[operation])
		default:
			a.differs("credential: %s for %s, was %s", wordOf(n[operation]), operation, wordOf(w[operation]))
		}
	}
	clear := func(list []Credential) (out []Credential) {
		for _, c := range list {
			c.Patterns, c.Operations, c.Secret = nil, nil, ""
			out = append(out, c)
		}
		return out
	}
	if len(was.Credentials) == len(now.Credentials) {
		a.rest(clear(was.Credentials), clear(now.Credentials))
	}
}
