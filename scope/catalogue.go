package scope

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// AttributeSpec declares one attribute of an operation.
type AttributeSpec struct {
	Name       string `json:"name"`
	Type       Type   `json:"type"`
	Required   bool   `json:"required,omitempty"`   // every accepted request has it
	Recordable bool   `json:"recordable,omitempty"` // its value may stand in the record (ids, amounts, currency, enumerations)
}

// Spec declares one operation of an app.
type Spec struct {
	Name       string          `json:"name"`
	Class      Class           `json:"class"`
	Attributes []AttributeSpec `json:"attributes,omitempty"`
}

// Attribute returns the named attribute's declaration.
func (s Spec) Attribute(name string) (AttributeSpec, bool) {
	for _, a := range s.Attributes {
		if a.Name == name {
			return a, true
		}
	}
	return AttributeSpec{}, false
}

// Catalogue is the closed list of an app kind's operations. It is immutable and
// safe for concurrent use. A nil Catalogue is empty.
type Catalogue struct {
	specs  []Spec
	byName map[string]int
	digest string
}

// NewCatalogue checks and sorts specs: names and attribute names unique, every
// class and type known.
func NewCatalogue(specs []Spec) (*Catalogue, error) {
	c := &Catalogue{specs: slices.Clone(specs), byName: make(map[string]int, len(specs))}
	slices.SortFunc(c.specs, func(a, b Spec) int { return strings.Compare(a.Name, b.Name) })
	for i, s := range c.specs {
		if err := checkSpec(s); err != nil {
			return nil, err
		}
		if _, ok := c.byName[s.Name]; ok {
			return nil, fmt.Errorf("operation %q twice in the catalogue", s.Name)
		}
		c.byName[s.Name] = i
	}
	b, err := json.Marshal(c.specs)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	sum := sha256.Sum256(b)
	c.digest = hex.EncodeToString(sum[:])
	return c, nil
}

func checkSpec(s Spec) error {
	if s.Name == "" || strings.ContainsAny(s.Name, "*@ $") || s.Class == ClassNone {
		return fmt.Errorf("operation %q: want a plain name and a class", s.Name)
	}
	seen := map[string]bool{}
	for _, a := range s.Attributes {
		if a.Name == "" || a.Type == TypeNone || seen[a.Name] {
			return fmt.Errorf("operation %s: attribute %q has no type or is there twice", s.Name, a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// Lookup returns the declaration of one operation.
func (c *Catalogue) Lookup(name string) (Spec, bool) {
	if c == nil {
		return Spec{}, false
	}
	i, ok := c.byName[name]
	if !ok {
		return Spec{}, false
	}
	return c.specs[i], true
}

// Specs returns all declarations, sorted by name. The caller does not change them.
func (c *Catalogue) Specs() []Spec {
	if c == nil {
		return nil
	}
	return c.specs
}

// Digest returns the SHA-256, in hex, of the sorted declarations: two binaries
// with equal digests mean the same by every name.
func (c *Catalogue) Digest() string {
	if c == nil {
		return ""
	}
	return c.digest
}

// Expand returns the sorted names that pattern stands for: one name, prefix.*
// (whole segments), or @read, @write, @money, @secret, @admin (exactly that
// class). A pattern that stands for nothing is an error.
func (c *Catalogue) Expand(pattern string) ([]string, error) {
	var names []string
	match, err := matcher(pattern)
	if err != nil {
		return nil, err
	}
	for _, s := range c.Specs() {
		if match(s) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("operation pattern %q stands for no operation of the catalogue", pattern)
	}
	return names, nil
}

func matcher(pattern string) (func(Spec) bool, error) {
	if word, ok := strings.CutPrefix(pattern, "@"); ok {
		class, err := ParseClass(word)
		if err != nil {
			return nil, fmt.Errorf("operation pattern %q: %w", pattern, err)
		}
		return func(s Spec) bool { return s.Class == class }, nil
	}
	if prefix, ok := strings.CutSuffix(pattern, ".*"); ok {
		if prefix == "" || strings.Contains(prefix, "*") {
			return nil, fmt.Errorf("operation pattern %q: want prefix.*", pattern)
		}
		return func(s Spec) bool { return strings.HasPrefix(s.Name, prefix+".") }, nil
	}
	if pattern == "" || strings.ContainsAny(pattern, "*@ ") {
		return nil, fmt.Errorf("operation pattern %q: want a name, prefix.*, or @read, @write, @money, @secret, @admin", pattern)
	}
	return func(s Spec) bool { return s.Name == pattern }, nil
}
