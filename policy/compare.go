package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// Effect says which way a change goes.
type Effect = string

// The effects of a change.
const (
	Gains   Effect = "gains"   // somebody may do more, or with less
	Loses   Effect = "loses"   // somebody may do less, or with more
	Differs Effect = "differs" // neither, or nobody can tell
)

// Change is one thing that a policy says otherwise than another.
type Change struct {
	Effect     Effect   `json:"effect"`
	What       string   `json:"what"`                 // entitlement NAME, app NAME, or a key of mayfly.yaml
	Who        []string `json:"who,omitempty"`        // whom it is about, sorted; none: everybody
	Operations []string `json:"operations,omitempty"` // which it is about, sorted; none: it is not about operations
	File       string   `json:"file,omitempty"`
	Line       int      `json:"line,omitempty"` // 0: not known
	Text       string   `json:"text"`           // a sentence for people
	// Widens says that somebody could gain something with or on an app that was there
	// before, as far as can be told: what is not proven only to narrow, widens.
	Widens bool `json:"widens"`
}

// Comparison is everything that a policy changes against another.
type Comparison struct {
	First   bool     `json:"first"` // there was none before: everything is new, and nothing widens
	Changes []Change `json:"changes"`

	adds []App // apps that are new
}

// Widens reports whether anybody could gain anything with or on an app that was
// there before. It errs to the side of yes. It decides whether a commit has to wait
// before it enters into force (contracts §6).
func (c Comparison) Widens() bool {
	return slices.ContainsFunc(c.Changes, func(c Change) bool { return c.Widens })
}

// ReAdds reports whether an app that is new by this comparison was there under an
// earlier policy: by its name, a host, its upstream, a secret or a workload. Removing
// an app narrows, and adding one gains nothing on those that are there; done one after
// the other they would replace an app, and neither would widen.
func (c Comparison) ReAdds(earlier *Set) bool {
	if earlier == nil {
		return false
	}
	traces := tracesOf(earlier)
	return slices.ContainsFunc(c.adds, func(a App) bool {
		_, named := earlier.apps[a.Name]
		return named || traces.overlap(a) != ""
	})
}

// Drops reports whether after has no longer what before had: the name of an app, a host,
// an upstream, a secret or a workload. What ReAdds is asked about is remembered by it.
func Drops(before, after *Set) bool {
	was, now := tracesOf(before), tracesOf(after)
	return len(without(keys(was.hosts), keys(now.hosts)))+len(without(keys(was.secrets), keys(now.secrets)))+len(without(keys(before.apps), keys(after.apps))) > 0 ||
		slices.ContainsFunc(slices.Collect(maps.Keys(was.workloads)), func(p identity.Principal) bool { _, still := now.workloads[p]; return !still })
}

// Compare says what after changes against before, sorted by what it is about. With
// before nil everything is new. A field of a Set that Compare does not know counts as
// one that widens when it differs.
func Compare(before, after *Set) Comparison {
	if after == nil {
		return Comparison{Changes: []Change{{Effect: Differs, What: "policy", Text: "there is no policy to compare with", Widens: true}}}
	}
	c := &comparing{before: before, after: after}
	if before == nil {
		c.before = newSet(nil, "")
	}
	c.apps()
	for _, name := range both(c.before.entitlements, after.entitlements) {
		c.entitlement(c.before.entitlements[name], after.entitlements[name])
	}
	c.main()
	out := Comparison{First: before == nil, Changes: c.out, adds: c.adds}
	for i := range out.Changes {
		change := &out.Changes[i]
		change.Widens = change.Widens && !out.First
		slices.Sort(change.Who)
		slices.Sort(change.Operations)
	}
	slices.SortFunc(out.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.File, b.File), a.Line-b.Line, cmp.Compare(a.Effect, b.Effect), cmp.Compare(a.Text, b.Text))
	})
	return out
}

// comparing is one run of Compare.
type comparing struct {
	before, after *Set
	adds          []App
	out           []Change
}

// at is where changes are reported that are about one thing.
type at struct {
	c          *comparing
	what, file string
	line       int
	who        []string
	operations []string
}

func (a at) add(effect Effect, widens bool, format string, args ...any) {
	a.c.out = append(a.c.out, Change{
		Effect: effect, What: a.what, Who: slices.Clone(a.who), Operations: slices.Clone(a.operations),
		File: a.file, Line: a.line, Text: fmt.Sprintf(format, args...), Widens: widens,
	})
}

func (a at) gains(format string, args ...any) { a.add(Gains, true, format, args...) }
func (a at) loses(format string, args ...any) { a.add(Loses, false, format, args...) }

// differs is for what cannot be proven to narrow.
func (a at) differs(format string, args ...any) { a.add(Differs, true, format, args...) }

// says is for what decides nothing.
func (a at) says(format string, args ...any) { a.add(Differs, false, format, args...) }

func (a at) on(line int) at { a.line = line; return a }

// shrinks reports a value that may only become less: at and below was it narrows.
func shrinks[T cmp.Ordered](a at, what string, was, now T, text func(T) string) {
	switch {
	case now < was:
		a.loses("%s: %s, was %s", what, text(now), text(was))
	case now > was:
		a.gains("%s: %s, was %s", what, text(now), text(was))
	}
}

// set reports what a list of names gained and lost, where more is wider.
func (a at) set(what string, was, now []string) {
	if more := without(now, was); len(more) > 0 {
		a.gains("%s: %s added", what, strings.Join(more, ", "))
	}
	if less := without(was, now); len(less) > 0 {
		a.loses("%s: %s removed", what, strings.Join(less, ", "))
	}
}

// open is set for a list that bounds nothing when it is empty.
func (a at) open(what string, was, now []string) {
	switch {
	case len(was) == 0 && len(now) > 0:
		a.loses("%s: only %s, was any", what, strings.Join(now, ", "))
	case len(was) > 0 && len(now) == 0:
		a.gains("%s: any, was only %s", what, strings.Join(was, ", "))
	default:
		a.set(what, was, now)
	}
}

// rest reports a difference in what nothing else compared: a field that somebody
// added since.
func (a at) rest(was, now any) {
	if !reflect.DeepEqual(was, now) {
		a.differs("%s", unknownDifference)
	}
}

const unknownDifference = "something differs that is not compared"

// without returns the members of list that other lacks, sorted.
func without(list, other []string) []string {
	have := make(map[string]bool, len(other))
	for _, s := range other {
		have[s] = true
	}
	var out []string
	for _, s := range list {
		if !have[s] {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// both returns the sorted keys of two maps.
func both[V any](a, b map[string]V) []string {
	out := append(keys(a), keys(b)...)
	slices.Sort(out)
	return slices.Compact(out)
}

func wordOf(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

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
	s.apps, s.catalogues, s.entitlements, s.exceptions = nil, nil, nil, nil
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

// traces are what apps of a policy are reached by and with.
type traces struct {
	hosts, secrets map[string]string // and whose they are
	workloads      map[identity.Principal]string
}

func tracesOf(s *Set) traces {
	out := traces{map[string]string{}, map[string]string{}, map[identity.Principal]string{}}
	for _, name := range slices.Sorted(maps.Keys(s.apps)) {
		a := s.apps[name]
		for _, h := range hostsOf(a) {
			out.hosts[h] = name
		}
		for _, c := range a.Credentials {
			out.secrets[c.Secret] = name
		}
		if !a.Workload.IsZero() {
			out.workloads[a.Workload] = name
		}
	}
	return out
}

// hostsOf returns the hosts of an app and of its upstream. Two names of one machine
// are two hosts here: which name is whose nobody can tell from the files.
func hostsOf(a App) []string {
	out := slices.Clone(a.Hosts)
	if a.Upstream != nil {
		host := strings.ToLower(a.Upstream.Hostname())
		if addr, err := netip.ParseAddr(host); err == nil {
			host = addr.Unmap().String()
		}
		out = append(out, host)
	}
	return out
}

// overlap says what an app shares with those of t, "" if nothing.
func (t traces) overlap(a App) string {
	for _, h := range hostsOf(a) {
		if other, ok := t.hosts[h]; ok {
			return "the host " + h + " with app " + other
		}
	}
	for _, c := range a.Credentials {
		if other, ok := t.secrets[c.Secret]; ok {
			return "the secret " + c.Secret + " with app " + other
		}
	}
	if other, ok := t.workloads[a.Workload]; ok {
		return "the workload " + a.Workload.String() + " with app " + other
	}
	return ""
}
