package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Need is what somebody was seen to do and would have been denied.
type Need struct {
	App        string
	Operation  string
	Who        identity.Principal
	Attributes map[string]string // the value of those that had one only; "": they had several
}

// Proposal is an entitlement that nobody has written yet, as a file of a policy.
type Proposal struct {
	Path string
	YAML string
}

// Propose writes an entitlement for each group of callers with the same needs: exactly the
// operations that were seen, no pattern, and a constraint on what had one value only. It
// is a beginning for whoever owns it: the security group approves, and somebody has to
// say why. unmet are needs that no entitlement can cover, in words.
func (s *Set) Propose(owner string, needs []Need) (out []Proposal, unmet []string) {
	type caller struct {
		app string
		who identity.Principal
	}
	lines := map[caller]map[string]map[string]string{} // operation → attributes
	for _, n := range needs {
		if why := s.unmet(n); why != "" {
			unmet = append(unmet, why)
			continue
		}
		c := caller{n.App, n.Who}
		if lines[c] == nil {
			lines[c] = map[string]map[string]string{}
		}
		seen, again := lines[c][n.Operation]
		lines[c][n.Operation] = onlyValues(seen, n.Attributes, again)
	}
	groups := map[[2]string][]string{} // app, allow → who
	for c, operations := range lines {
		key := [2]string{c.app, s.allowText(c.app, operations)}
		groups[key] = append(groups[key], s.whoText(c.who))
	}
	order := make([][2]string, 0, len(groups))
	for key := range groups {
		order = append(order, key)
	}
	slices.SortFunc(order, func(a, b [2]string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) })
	for _, key := range order {
		name := s.freeName(key[0], len(out)+1)
		who := slices.Compact(slices.Sorted(slices.Values(groups[key])))
		out = append(out, Proposal{Path: entitlementsRoot + "/" + name + ".yaml", YAML: s.proposalText(name, owner, key[0], key[1], who)})
	}
	slices.Sort(unmet)
	return out, slices.Compact(unmet)
}

// unmet says why no entitlement covers a need, "" if one can.
func (s *Set) unmet(n Need) string {
	a, ok := s.apps[n.App]
	spec, known := s.catalogues[n.App].Lookup(n.Operation)
	direct := a.Direct() || slices.ContainsFunc(a.Credentials, func(c Credential) bool { return slices.Contains(c.Operations, n.Operation) })
	switch {
	case !ok:
		return fmt.Sprintf("%s is no app of the policy in force", n.App)
	case n.Operation == "":
		return fmt.Sprintf("what %s did on %s has no name: the app's catalogue does not know it, or its parser does not understand it", n.Who, n.App)
	case !known:
		return fmt.Sprintf("%s is no operation of %s any more", n.Operation, n.App)
	case !direct:
		return fmt.Sprintf("%s names no credential for %s", n.App, n.Operation)
	case spec.Class.Acknowledged() && a.StaleAfter > maxStaleStrict:
		return fmt.Sprintf("%s is of class %s, and %s has stale_after %s: want at most %s", n.Operation, spec.Class, n.App, durationText(a.StaleAfter), durationText(maxStaleStrict))
	}
	return ""
}

// onlyValues joins what two observations of one operation had in common.
func onlyValues(a, b map[string]string, both bool) map[string]string {
	if !both {
		return b
	}
	out := map[string]string{}
	for name, value := range a {
		if b[name] == value {
			out[name] = value
		}
	}
	return out
}

// allowText writes the lines under allow:, one an operation.
func (s *Set) allowText(app string, operations map[string]map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		spec, _ := s.catalogues[app].Lookup(name)
		var where []string
		for _, a := range spec.Attributes {
			if value := operations[name][a.Name]; value != "" && a.Recordable && bindable(a.Type, value) {
				where = append(where, a.Name+": {is: "+strconv.Quote(value)+"}")
			}
		}
		fmt.Fprintf(&b, "  - {operations: [%s]", name)
		if len(where) > 0 {
			fmt.Fprintf(&b, ", where: {%s}", strings.Join(where, ", "))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// bindable reports whether a value can stand in a file as it stood in the record. Amounts
// are written otherwise, and nobody refunds one amount only.
func bindable(t scope.Type, value string) bool {
	switch t {
	case scope.TypeString, scope.TypePath, scope.TypeBoolean:
		return !strings.HasPrefix(value, "$") && strconv.Quote(value) == `"`+value+`"`
	default:
		return false
	}
}

func (s *Set) whoText(p identity.Principal) string {
	if person, ok := s.people[p]; ok {
		return person.String()
	}
	return p.String()
}

func (s *Set) freeName(app string, n int) string {
	for ; ; n++ {
		name := fmt.Sprintf("%s/observed-%d", app, n)
		if _, taken := s.entitlements[name]; !taken {
			return name
		}
	}
}

func (s *Set) proposalText(name, owner, app, allow string, who []string) string {
	longest := min(s.caps.Grant, 8*time.Hour)
	for i, one := range who {
		who[i] = strconv.Quote(one)
	}
	return fmt.Sprintf(`# Proposed from what was observed: see that each line is wanted, and who decides.
entitlement: %s
owner: %s
app: %s
allow:
%sgrant: {max: %s, default: %s}
request:
  who: [%s]
  for: [self]
  justification: text
approve:
  steps:
    - {any: [%s], count: 1, within: 4h}
`, name, owner, app, allow, durationText(longest), durationText(min(longest, time.Hour)), strings.Join(who, ", "), s.security)
}
