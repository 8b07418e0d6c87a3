package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

// Subject is whom a rule names: a group, a person of people:, an account or a
// workload. The zero value matches nobody.
type Subject struct {
	group     identity.Group
	person    identity.Person
	principal identity.Principal
}

// ParseSubject reads group:<source>/<name>, spiffe://…, user:<idp>:<subject>, or
// the name of a person.
func ParseSubject(s string) (Subject, error) {
	switch {
	case strings.HasPrefix(s, "group:"):
		g, err := identity.ParseGroup(s)
		return Subject{group: g}, err
	case strings.Contains(s, ":"):
		p, err := identity.ParsePrincipal(s)
		return Subject{principal: p}, err
	default:
		p, err := identity.NamedPerson(s)
		if err != nil {
			err = fmt.Errorf("%q: want group:<source>/<name>, spiffe://…, user:<idp>:<subject> or the name of a person", s)
		}
		return Subject{person: p}, err
	}
}

// String returns the text that ParseSubject reads.
func (s Subject) String() string {
	switch {
	case !s.group.IsZero():
		return s.group.String()
	case !s.person.IsZero():
		return s.person.String()
	default:
		return s.principal.String()
	}
}

// IsGroup reports whether s names a group.
func (s Subject) IsGroup() bool { return !s.group.IsZero() }

// kind is the kind of principal that s can match.
func (s Subject) kind() identity.Kind {
	if s.principal.Kind() == identity.KindWorkload {
		return identity.KindWorkload
	}
	return identity.KindUser
}

// matches reports whether s names this account, its person, or one of its groups.
func (s Subject) matches(p identity.Principal, person identity.Person, groups []identity.Group) bool {
	switch {
	case p.IsZero():
		return false
	case !s.group.IsZero():
		return slices.Contains(groups, s.group)
	case !s.person.IsZero():
		return s.person == person
	default:
		return s.principal == p // no other case is left; a zero Subject equals no account
	}
}

// subjects reads a list of subjects that can exist.
func (l *loader) subjects(n *node, what string) []Subject {
	var out []Subject
	for _, item := range l.list(n, what) {
		s := l.subject(item, what)
		if s == (Subject{}) {
			continue
		}
		if slices.Contains(out, s) {
			l.fail(item, CodeDuplicate, "%s: %s is there twice", what, s)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (l *loader) subject(n *node, what string) Subject {
	text := l.text(n, what)
	if text == "" {
		return Subject{}
	}
	s, err := ParseSubject(text)
	switch {
	case err != nil:
		l.fail(n, CodeValue, "%s: %v", what, err)
		return Subject{}
	case !s.person.IsZero() && !l.persons[text]:
		l.fail(n, CodeUnknownName, "%s: no person %q under people: in %s%s", what, text, mainFile, didYouMean(text, keys(l.persons)))
		return Subject{}
	case s.IsGroup():
		l.groupSource(n, what, s.group)
	}
	l.mustCount(n, what, s.principal, "")
	return s
}

func (l *loader) groupSource(n *node, what string, g identity.Group) {
	source, _, _ := strings.Cut(strings.TrimPrefix(g.String(), "group:"), "/")
	if l.o.GroupSources != nil && !slices.Contains(l.o.GroupSources, source) {
		l.fail(n, CodeUnknownName, "%s: no source of groups %q, want %s", what, source, strings.Join(l.o.GroupSources, " or "))
	}
}
