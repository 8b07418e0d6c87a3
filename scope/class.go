package scope

import "fmt"

// Class says how much an operation can do. A greater class is stricter. The
// zero value is "not known" and is treated as the strictest by every user.
type Class uint8

// The classes, from harmless to total.
const (
	ClassNone Class = iota
	ClassRead
	ClassWrite
	ClassMoney
	ClassSecret
	ClassAdmin
)

func classNames() [6]string { return [6]string{"", "read", "write", "money", "secret", "admin"} }

// ParseClass reads the word that policy and catalogues use.
func ParseClass(s string) (Class, error) {
	for i, name := range classNames() {
		if i > 0 && name == s {
			return Class(i), nil
		}
	}
	return ClassNone, fmt.Errorf("class %q: want read, write, money, secret or admin", s)
}

// String returns the word, "" for ClassNone.
func (c Class) String() string {
	names := classNames()
	if int(c) >= len(names) {
		return ""
	}
	return names[c]
}

// Stricter returns the stricter of c and d.
func (c Class) Stricter(d Class) Class {
	if c == ClassNone || d == ClassNone {
		return ClassNone
	}
	return max(c, d)
}

// Writes reports whether an intent of this class is fsynced before the act.
func (c Class) Writes() bool { return c != ClassRead }

// Acknowledged reports whether the control plane acknowledges an intent of this
// class before the act (money, secret, admin and whatever is not known).
func (c Class) Acknowledged() bool { return c != ClassRead && c != ClassWrite }

// MarshalText writes the word.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the word; an empty text is ClassNone.
func (c *Class) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*c = ClassNone
		return nil
	}
	v, err := ParseClass(string(b))
	if err != nil {
		return err
	}
	*c = v
	return nil
}
