package identity

import (
	"fmt"
	"strings"
)

// Person is one human behind one or more accounts. Policy says which accounts
// belong together; an account that it does not list is its own person. The zero
// value is nobody.
type Person struct{ name string }

// NamedPerson returns the person that policy calls name under people:.
func NamedPerson(name string) (Person, error) {
	if !validName(name, 64) {
		return Person{}, fmt.Errorf("person %q: want 1 to 64 of a-z, 0-9 and -", name)
	}
	return Person{name}, nil
}

// PersonOf returns the person of an account that policy does not list: itself.
func PersonOf(p Principal) Person { return Person{p.text} }

// ParsePerson reads what String wrote: a name, or an account that is its own person.
func ParsePerson(s string) (Person, error) {
	if !strings.Contains(s, ":") {
		return NamedPerson(s)
	}
	p, err := ParsePrincipal(s)
	if err != nil {
		return Person{}, err
	}
	return PersonOf(p), nil
}

// IsZero reports whether p is nobody.
func (p Person) IsZero() bool { return p.name == "" }

// String returns the name, or the account of a person that policy does not list.
func (p Person) String() string { return p.name }

// Group is a named set of accounts as a source tells it: group:<source>/<name>.
// The zero value is no group.
type Group struct{ text string }

const groupPrefix = "group:"

// ParseGroup reads group:<source>/<name>.
func ParseGroup(s string) (Group, error) {
	rest, ok := strings.CutPrefix(s, groupPrefix)
	source, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !validName(source, maxIDPName) || name == "" || len(name) > maxSubject || !printable(name) {
		return Group{}, fmt.Errorf("group %q: want group:<source>/<name>", s)
	}
	return Group{s}, nil
}

// IsZero reports whether g is no group.
func (g Group) IsZero() bool { return g.text == "" }

// String returns group:<source>/<name>.
func (g Group) String() string { return g.text }

// MarshalText writes the text form.
func (g Group) MarshalText() ([]byte, error) { return []byte(g.text), nil }

// UnmarshalText reads the text form.
func (g *Group) UnmarshalText(b []byte) error {
	v, err := ParseGroup(string(b))
	if err != nil {
		return err
	}
	*g = v
	return nil
}
