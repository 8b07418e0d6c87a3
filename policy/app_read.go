package policy

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// Bounds of stale_after (design §7).
const (
	minStale       = 5 * time.Second
	maxStale       = 5 * time.Minute
	maxStaleStrict = 30 * time.Second // of apps whose entitlements reach money, secret or admin
	defaultStale   = 15 * time.Second
)

func (l *loader) readApp(n *node) {
	f := l.object(n, schema{
		what:  "app",
		known: []string{"app", "kind", "owner", "hosts", "callers", "upstream", "credential", "stale_after", "streams", "max_stream", "identity", "assert", "environments", "workload", "mode"},
		later: []string{"audience", "budget", "rate", "resolve", "session", "window"},
	})
	if f == nil {
		l.someApps = true
		return
	}
	a := App{File: l.file, Line: n.line}
	at := f.need("app")
	a.Name = l.name(at, "app", false)
	l.named(at, "app", a.Name, appsFolder)
	if a.Name == OwnApp {
		l.fail(at, CodeDuplicate, "app: %s is built in, its operations are Mayfly's own; write entitlements on it", OwnApp)
		return
	}
	if other, ok := l.seenApps[a.Name]; ok && a.Name != "" {
		l.fail(at, CodeDuplicate, "app: %s is there twice, also on line %d of another file", a.Name, other.line)
		return
	}
	l.seenApps[a.Name] = n
	l.someApps = l.someApps || a.Name == ""
	a.Owner = l.name(f.need("owner"), "owner", false)
	l.readKind(&a, f.need("kind"))
	a.Hosts = l.readHosts(f.need("hosts"), a.Name)
	a.Callers = l.readCallers(f.need("callers"), a.Kind)
	a.Identity = l.readIdentity(f.opt("identity"), a)
	a.Environments = l.readEnvironments(f.opt("environments"))
	a.Assert = l.readAssert(f.opt("assert"), a.Kind)
	a.Upstream = l.readUpstream(f.need("upstream"), &a)
	a.Credentials = l.readCredentials(f, a)
	a.StaleAfter = defaultStale
	if at := f.opt("stale_after"); at != nil {
		a.StaleAfter = l.duration(at, "stale_after")
		if a.StaleAfter != 0 && (a.StaleAfter < minStale || a.StaleAfter > maxStale) {
			l.fail(at, CodeCap, "stale_after: %s, want 5s to 5m", durationText(a.StaleAfter))
		}
	}
	a.Guard = l.readStreams(f.opt("streams"), a.Kind)
	if at := f.opt("max_stream"); at != nil {
		if a.MaxStream = l.duration(at, "max_stream"); a.MaxStream > grant.MaxTerm {
			l.fail(at, CodeCap, "max_stream: %s, want at most %s", durationText(a.MaxStream), durationText(grant.MaxTerm))
		}
	}
	a.Observe = l.readMode(f.opt("mode"), a.Name)
	a.Workload = l.readWorkload(f.opt("workload"))
	l.set.apps[a.Name] = a
}

// readStreams reports whether the streams of the app are guarded. What goes through
// the hop is cut there, and has no other guard.
func (l *loader) readStreams(n *node, kind string) (guard bool) {
	guard = l.word(n, "streams", []string{"deadline", "guard"}, nil) == "guard"
	if guard && l.o.Credentialed != nil && kind != "" && l.o.Credentialed(kind) {
		l.fail(n, CodeValue, "streams: apps of kind %s are reached with a credential, and what ends their access cuts their requests anyway: leave guard out", kind)
		return false
	}
	return guard
}

func (l *loader) readKind(a *App, n *node) {
	a.Kind = l.name(n, "kind", false)
	if a.Kind == "" {
		return
	}
	cat, ok := l.o.Catalogue(a.Kind)
	switch {
	case ok && cat != nil:
		a.Catalogue = cat.Digest()
		l.set.catalogues[a.Name] = cat
	case slices.Contains([]string{"web", "openapi", "stripe", "aws", "mcp"}, a.Kind):
		l.fail(n, CodeUnsupported, "kind: %s is not supported yet", a.Kind)
	default:
		l.fail(n, CodeUnknownName, "kind: no kind of app %q", a.Kind)
	}
}

func (l *loader) readHosts(n *node, app string) []string {
	hosts := l.texts(n, "hosts")
	for i, h := range hosts {
		switch other, taken := l.set.hosts[h]; {
		case !validHost(h):
			l.fail(n.items[min(i, len(n.items)-1)], CodeValue, "hosts: %q, want an exact DNS name in lower case, without port", h)
		case taken:
			l.fail(n, CodeDuplicate, "hosts: %s already belongs to %s", h, other)
		default:
			l.set.hosts[h] = app
		}
	}
	return hosts
}

// readAssert reads whether the app is told in a signed token who calls. What goes to
// a provider of somebody else's is not told.
func (l *loader) readAssert(n *node, kind string) bool {
	if !l.boolean(n, "assert") {
		return false
	}
	if l.o.Credentialed != nil && kind != "" && l.o.Credentialed(kind) {
		l.fail(n, CodeValue, "assert: apps of kind %s are reached with a credential, and are told of nobody", kind)
	}
	return true
}

// readCallers reads the doors of an app. Only a web app understands a browser.
func (l *loader) readCallers(n *node, kind string) []string {
	var out []string
	for _, c := range l.list(n, "callers") {
		word := l.word(c, "callers", []string{CallersServices, CallersPeople, CallersClients}, nil)
		switch {
		case word == "":
		case slices.Contains(out, word):
			l.fail(c, CodeDuplicate, "callers: %s is there twice", word)
		case word == CallersPeople && kind != "" && kind != "web":
			l.fail(c, CodeValue, "callers: people reach apps of kind web only, this is %s", kind)
		default:
			out = append(out, word)
		}
	}
	return out
}

// readIdentity reads what the app is told about a person, and in which headers.
func (l *loader) readIdentity(n *node, a App) []IdentityHeader {
	if n == nil {
		return nil
	}
	f := l.object(n, schema{what: "identity", known: []string{"headers"}, later: []string{"cookie"}})
	at := f.need("headers")
	if at == nil {
		return nil
	}
	if !a.TakesPeople() {
		l.fail(n, CodeValue, "identity: the app takes no people under callers:")
	}
	headers := l.object(at, schema{what: "identity.headers", known: Facts()})
	var out []IdentityHeader
	for _, fact := range Facts() {
		n := headers.opt(fact)
		if n == nil {
			continue
		}
		name := strings.ToLower(l.text(n, fact))
		switch {
		case name == "":
		case !validIdentityHeader(name):
			l.fail(n, CodeValue, "%s: header %q, want letters, digits and - that begin with x-, and none that Mayfly, Envoy or HTTP use themselves", fact, name)
		case slices.ContainsFunc(out, func(h IdentityHeader) bool { return h.Header == name }):
			l.fail(n, CodeDuplicate, "%s: header %s is there twice", fact, name)
		default:
			out = append(out, IdentityHeader{Header: name, Fact: fact})
		}
	}
	slices.SortFunc(out, func(a, b IdentityHeader) int { return strings.Compare(a.Header, b.Header) })
	return out
}

// validIdentityHeader takes names of the form x-…, except those that have a
// meaning to Mayfly, to Envoy or to proxies before the app.
func validIdentityHeader(name string) bool {
	if len(name) > 64 || !strings.HasPrefix(name, "x-") || !validLabel(name) {
		return false
	}
	for _, taken := range []string{"x-mayfly-", "x-envoy-", "x-forwarded-", "x-original-", "x-amz-"} {
		if strings.HasPrefix(name, taken) {
			return false
		}
	}
	return !slices.Contains([]string{"x-host", "x-real-ip", "x-request-id", "x-http-method", "x-http-method-override", "x-method-override"}, name)
}

func validHost(h string) bool {
	if len(h) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return false
	}
	labels := strings.Split(h, ".")
	return !slices.ContainsFunc(labels, func(s string) bool { return !validLabel(s) })
}

func (l *loader) readUpstream(n *node, a *App) *url.URL {
	if n == nil {
		return nil
	}
	f := l.object(n, schema{what: "upstream", known: []string{"url", "protocol"}, later: []string{"timeout", "headers", "certificate"}})
	if at := f.opt("protocol"); l.word(at, "protocol", []string{"http/1.1", "http/2"}, nil) == "http/2" {
		a.HTTP2 = true
		if l.o.Credentialed != nil && a.Kind != "" && l.o.Credentialed(a.Kind) {
			l.fail(at, CodeValue, "protocol: apps of kind %s are reached by HTTP/1.1", a.Kind)
		}
	}
	at := f.need("url")
	text := l.text(at, "url")
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || u.Path != "" || u.Host == "" || !validPort(u) {
		l.fail(at, CodeValue, "url: want scheme://host[:port] and nothing else")
		return nil
	}
	addr, err := netip.ParseAddr(u.Hostname())
	switch {
	case err != nil && !validHost(u.Hostname()):
		l.fail(at, CodeValue, "url: %q, want a DNS name in lower case or an IP address", u.Hostname())
	case u.Scheme == "https":
	case u.Scheme != "http":
		l.fail(at, CodeValue, "url: scheme %q, want https", u.Scheme)
	case !l.o.Dev || err != nil || !addr.IsLoopback():
		l.fail(at, CodeValue, "url: plain http goes only to a loopback address, and only with --dev")
	}
	return u
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return u.Host == u.Hostname() || u.Host == "["+u.Hostname()+"]"
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// readCredentials expands the patterns. An operation that two lines give
// different secrets is refused: the file would leave open which one is sent.
func (l *loader) readCredentials(f *fields, a App) []Credential {
	n := f.opt("credential")
	needs := l.o.Credentialed != nil && a.Kind != "" && l.o.Credentialed(a.Kind)
	switch {
	case n == nil && needs:
		l.fail(f.n, CodeMissing, "app: kind %s needs a credential", a.Kind)
	case n != nil && l.o.Credentialed != nil && !needs && l.set.catalogues[a.Name] != nil:
		l.fail(n, CodeValue, "credential: apps of kind %s are reached without one", a.Kind)
		n = nil
	}
	if n == nil {
		return nil
	}
	var out []Credential
	secretOf := map[string]string{}
	for _, item := range l.list(n, "credential") {
		c := l.readCredential(item, l.set.catalogues[a.Name])
		for _, name := range c.Operations {
			if other, ok := secretOf[name]; ok && other != c.Secret {
				l.fail(item, CodeOverlap, "credential: %s would be done with %s or with %s: say which", name, other, c.Secret)
				break
			}
			secretOf[name] = c.Secret
		}
		out = append(out, c)
	}
	return out
}

func (l *loader) readCredential(n *node, cat *scope.Catalogue) Credential {
	f := l.object(n, schema{what: "credential", known: []string{"operations", "secret"}, later: []string{"provision", "role", "session"}})
	c := Credential{Patterns: l.texts(f.need("operations"), "operations"), Secret: l.name(f.need("secret"), "secret", false)}
	if at := f.opt("operations"); cat != nil && at != nil {
		c.Operations = l.expandPatterns(cat, c.Patterns, at)
	}
	return c
}
