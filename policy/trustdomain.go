package policy

import (
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// TrustDomain is one whose workloads count, and where.
type TrustDomain struct {
	Name         string
	Environments []string // of which its workloads may reach gateways
}

// pendingDomain is a workload, named somewhere, whose trust domain must count.
type pendingDomain struct {
	who         identity.Principal
	environment string // in which it must count; "" for any
	file, what  string
	at          *node
}

// TrustDomains returns the listed trust domains, in the file's order. None: policy
// leaves it to the configuration of mayflyd and of the gateways.
func (s *Set) TrustDomains() []TrustDomain { return s.domains }

// Knows reports whether policy takes p at all: a workload of a trust domain that a
// list leaves out is nobody. Persons are not asked.
func (s *Set) Knows(p identity.Principal) bool {
	return p.Kind() != identity.KindWorkload || len(s.domains) == 0 ||
		slices.ContainsFunc(s.domains, func(d TrustDomain) bool { return d.Name == p.TrustDomain() })
}

// TrustedIn returns the trust domains whose workloads count in an environment, in the
// file's order.
func (s *Set) TrustedIn(environment string) []string {
	var out []string
	for _, d := range s.domains {
		if slices.Contains(d.Environments, environment) {
			out = append(out, d.Name)
		}
	}
	return out
}

// takenIn reports whether a workload counts in all of some environments.
func (s *Set) takenIn(p identity.Principal, environments []string) bool {
	if p.Kind() != identity.KindWorkload || len(s.domains) == 0 {
		return true
	}
	return !slices.ContainsFunc(environments, func(e string) bool { return !slices.Contains(s.TrustedIn(e), p.TrustDomain()) })
}

// EnvironmentsOf returns where grants of an entitlement count: its own
// environments, else its app's. None: wherever the app is.
func (s *Set) EnvironmentsOf(e *Entitlement) []string {
	if len(e.Environments) > 0 {
		return e.Environments
	}
	return s.apps[e.App].Environments
}

// Elsewhere returns the entitlements on an app that do not count in an environment,
// sorted.
func (s *Set) Elsewhere(app, environment string) []string {
	var out []string
	for _, e := range s.Entitlements() {
		if in := s.EnvironmentsOf(e); e.App == app && len(in) > 0 && !slices.Contains(in, environment) {
			out = append(out, e.Name)
		}
	}
	return out
}

func (l *loader) readTrustDomains(n *node) {
	if n == nil {
		return
	}
	before := len(l.errs)
	defer func() { l.someDomains = len(l.errs) > before }()
	for _, item := range l.list(n, "trust_domains") {
		f := l.object(item, schema{what: "trust_domains", known: []string{"name", "environments"}})
		at := f.need("name")
		name := l.text(at, "name")
		_, err := identity.ParsePrincipal("spiffe://" + name + "/x")
		switch {
		case name == "":
		case err != nil:
			l.fail(at, CodeValue, "name: %q is not a trust domain", name)
		case slices.ContainsFunc(l.set.domains, func(d TrustDomain) bool { return d.Name == name }):
			l.fail(at, CodeDuplicate, "trust_domains: %s is there twice", name)
		}
		l.set.domains = append(l.set.domains, TrustDomain{Name: name, Environments: l.readEnvironments(f.need("environments"))})
	}
}

// readEnvironments reads names that stand under environments: of mayfly.yaml.
func (l *loader) readEnvironments(n *node) []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, item := range l.list(n, "environments") {
		name := l.text(item, "environments")
		switch {
		case name == "":
			continue
		case !slices.Contains(l.set.environments, name):
			l.fail(item, CodeUnknownName, "environments: no environment %q under environments: of %s%s", name, mainFile, didYouMean(name, l.set.environments))
		case slices.Contains(out, name):
			l.fail(item, CodeDuplicate, "environments: %s is there twice", name)
		}
		out = append(out, name)
	}
	return out
}

// mustCount notes a workload whose trust domain policy must list.
func (l *loader) mustCount(at *node, what string, who identity.Principal, environment string) {
	if who.Kind() == identity.KindWorkload {
		l.domains = append(l.domains, pendingDomain{who, environment, l.file, what, at})
	}
}

// checkDomains refuses to name a workload that could never count.
func (l *loader) checkDomains() {
	for _, p := range l.domains {
		l.file = p.file
		switch {
		case len(l.set.domains) == 0 || l.someDomains:
		case !l.set.Knows(p.who):
			l.fail(p.at, CodeUnknownName, "%s: no trust domain %s under trust_domains: of %s; its workloads are nobody", p.what, p.who.TrustDomain(), mainFile)
		case p.environment != "" && !l.set.takenIn(p.who, []string{p.environment}):
			l.fail(p.at, CodeNobody, "%s: trust domain %s is not listed for environment %s", p.what, p.who.TrustDomain(), p.environment)
		}
	}
}

// checkWhere refuses a workload under who: that could not use what it asks for.
func (l *loader) checkWhere(e *Entitlement) {
	in := l.set.EnvironmentsOf(e)
	for _, w := range e.Who {
		if !l.someDomains && l.set.Knows(w.principal) && !l.set.takenIn(w.principal, in) {
			l.failAt(e.lines.who, 1, CodeNobody, "who: trust domain %s of %s is not listed for %s, where %s counts", w.principal.TrustDomain(), w, strings.Join(in, " and "), e.Name)
		}
	}
}
