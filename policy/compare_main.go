package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// main compares mayfly.yaml.
func (c *comparing) main() {
	was, now := *c.before, *c.after
	key := func(name string) at { return at{c: c, what: name, file: mainFile} }
	if was.organisation != now.organisation {
		key("organisation").differs("organisation: %s, was %s", now.organisation, wordOf(was.organisation))
	}
	caps := key("caps")
	shrinks(caps, "caps.grant", was.caps.Grant, now.caps.Grant, durationText)
	shrinks(caps, "caps.pending_per_principal", was.caps.PendingPerPrincipal, now.caps.PendingPerPrincipal, func(n int) string { return fmt.Sprint(n) })
	was.caps.Grant, now.caps.Grant, was.caps.PendingPerPrincipal, now.caps.PendingPerPrincipal = 0, 0, 0, 0
	caps.rest(was.caps, now.caps)
	// Names of environments decide nothing; what stands in one is compared there.
	for _, name := range without(now.environments, was.environments) {
		key("environments").says("environments: %s added", name)
	}
	for _, name := range without(was.environments, now.environments) {
		key("environments").says("environments: %s removed", name)
	}
	c.domains(key("trust_domains"))
	c.owned(key("workloads"))
	c.personas()
	c.nodes(key("nodes"))
	c.people(key("people"))
	c.keys(key("people"))
	c.signers(key("signers"))
	// More signatures and a longer wait are gains too: of whoever would keep policy as it is.
	if was.Signatures() != now.Signatures() {
		key("signatures").differs("signatures: %d, was %d", now.Signatures(), was.Signatures())
	}
	if was.settle != now.settle {
		key("settle").differs("settle: %s, was %s", durationText(now.settle), durationText(was.settle))
	}
	c.exceptions()
	if was.security != now.security {
		key("security").differs("security: %s, was %s", now.security, wordOf(was.security.String()))
	}
	key("policy").rest(restOfSet(was), restOfSet(now))
}

// restOfSet is what of a set nothing compared.
func restOfSet(s Set) Set {
	s.digest, s.commit, s.files = "", "", nil // say nothing by themselves
	s.hosts = nil                             // of the apps' hosts
	s.accounts = nil                          // people, the other way round
	s.personas = nil                          // they decide nothing
	s.organisation, s.caps, s.environments, s.domains, s.owned = "", Caps{}, nil, nil, nil
	s.apps, s.catalogues, s.entitlements, s.bundles, s.exceptions = nil, nil, nil, nil, nil
	s.excuses = nil // exceptions, by what they are about
	s.nodes, s.people, s.keys, s.signers, s.security = nil, nil, nil, nil, identity.Group{}
	s.signatures, s.settle = 0, 0
	return s
}

// domains compares whose workloads count. Without a list everybody's do that the
// configuration takes.
func (c *comparing) domains(a at) {
	in := func(s *Set) (map[string][]string, []string) {
		out := map[string][]string{}
		for _, d := range s.domains {
			out[d.Name] = d.Environments
		}
		return out, keys(out)
	}
	was, wasNames := in(c.before)
	now, nowNames := in(c.after)
	a.open("trust_domains", wasNames, nowNames)
	for _, name := range nowNames {
		if _, ok := was[name]; ok {
			a.set("trust_domains: "+name+": environments", was[name], now[name])
		}
	}
	clear := func(list []TrustDomain) (out []TrustDomain) {
		for _, d := range list {
			d.Name, d.Environments = "", nil
			out = append(out, d)
		}
		return out
	}
	if len(wasNames) == len(nowNames) {
		a.rest(clear(c.before.domains), clear(c.after.domains))
	}
}

// owned compares whose workloads are, which decides nothing.
func (c *comparing) owned(a at) {
	in := func(s *Set) map[string]Owned {
		out := map[string]Owned{}
		for _, o := range s.owned {
			out[o.ID] = o
		}
		return out
	}
	was, now := in(c.before), in(c.after)
	for _, id := range both(was, now) {
		w, n := was[id], now[id]
		if w.Owner != n.Owner {
			a.says("workloads: %s belongs to %s, was %s", id, wordOf(n.Owner), wordOf(w.Owner))
		}
		w.ID, w.Owner, n.ID, n.Owner = "", "", "", ""
		a.rest(w, n)
	}
}

// personas compares what gives nobody anything.
func (c *comparing) personas() {
	for _, name := range both(c.before.personas, c.after.personas) {
		was, before := c.before.personas[name]
		now, still := c.after.personas[name]
		a := at{c: c, what: "persona " + name, file: now.File, line: now.Line}
		switch {
		case !before:
			a.says("the persona %s is new", name)
		case !still:
			a.says("the persona %s is gone", name)
		case was.Owner != now.Owner || !slices.Equal(was.Entitlements, now.Entitlements) || !slices.Equal(was.Who, now.Who):
			a.says("the persona %s changes", name)
		}
	}
}

// nodes compares who may front what. A new gateway is told of grants, and takes
// callers: it widens, and so does another app on one, unless the app is new.
func (c *comparing) nodes(a at) {
	in := func(s *Set) map[string]Node {
		out := map[string]Node{}
		for _, n := range s.nodes {
			out[n.Sidecar.String()] = n
		}
		return out
	}
	was, now := in(c.before), in(c.after)
	for _, id := range both(was, now) {
		w, before := was[id]
		n, still := now[id]
		switch {
		case !before:
			a.gains("nodes: gateway %s is new, for %s in %s", id, strings.Join(n.Apps, ", "), n.Environment)
			continue
		case !still:
			a.loses("nodes: gateway %s is removed", id)
			continue
		}
		for _, app := range without(n.Apps, w.Apps) {
			a.add(Gains, !c.isNew(app), "nodes: %s fronts %s too", id, app)
		}
		for _, app := range without(w.Apps, n.Apps) {
			a.loses("nodes: %s fronts %s no more", id, app)
		}
		w.Apps, n.Apps = nil, nil
		if w.Listener != n.Listener || w.Role != n.Role || w.Environment != n.Environment {
			a.differs("nodes: %s: listener %s, role %s, environment %s; was %s, %s, %s", id, n.Listener, n.Role, n.Environment, w.Listener, w.Role, w.Environment)
		}
		w.Listener, w.Role, w.Environment = n.Listener, n.Role, n.Environment
		a.rest(w, n)
	}
}

// people compares who is whom. Accounts that are no longer one person may approve
// for each other; accounts that become one may not, but a rule that names the person
// then names them too.
func (c *comparing) people(a at) {
	in := func(s *Set) map[string]identity.Person {
		out := map[string]identity.Person{}
		for account, person := range s.people {
			out[account.String()] = person
		}
		return out
	}
	was, now := in(c.before), in(c.after)
	for _, account := range both(was, now) {
		w, n := was[account], now[account]
		switch {
		case w == n:
		case !w.IsZero():
			a.differs("people: %s is %s, was %s: it may approve for its former accounts", account, wordOf(n.String()), w)
		default:
			a.add(Differs, c.after.named(n), "people: %s is %s", account, n)
		}
	}
}

// named reports whether a rule names a person.
func (s *Set) named(person identity.Person) bool {
	if person.IsZero() {
		return false
	}
	for _, e := range s.entitlements {
		if slices.ContainsFunc(e.Who, func(w Subject) bool { return w.person == person }) {
			return true
		}
		for _, step := range e.Steps {
			if slices.Contains(step.Any, person.String()) {
				return true
			}
		}
	}
	return false
}

// keys compares with what people sign approvals.
func (c *comparing) keys(a at) {
	in := func(s *Set, person string) (out []string) {
		for _, k := range s.keys[person] {
			out = append(out, k.Sort+" "+k.Text)
		}
		return out
	}
	for _, person := range both(c.before.keys, c.after.keys) {
		a.set("people: "+person+": keys", in(c.before, person), in(c.after, person))
		clear := func(list []ApproverKey) (out []ApproverKey) {
			for _, k := range list {
				k.Sort, k.Text = "", ""
				out = append(out, k)
			}
			return out
		}
		if w, n := c.before.keys[person], c.after.keys[person]; len(w) == len(n) {
			a.rest(clear(w), clear(n))
		}
	}
}

// signers compares who may sign the next commit. One less may mean that fewer
// signatures do.
func (c *comparing) signers(a at) {
	in := func(s *Set) (out []string) {
		for _, one := range s.signers {
			out = append(out, one.Person+" with "+one.Key)
		}
		return out
	}
	was, now := in(c.before), in(c.after)
	for _, s := range without(now, was) {
		a.gains("signers: %s is new", s)
	}
	for _, s := range without(was, now) {
		a.differs("signers: %s is removed", s)
	}
	clear := func(list []Signer) (out []Signer) {
		for _, s := range list {
			s.Person, s.Key = "", ""
			out = append(out, s)
		}
		return out
	}
	if len(was) == len(now) {
		a.rest(clear(c.before.signers), clear(c.after.signers))
	}
}
