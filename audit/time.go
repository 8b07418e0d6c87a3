package audit

import (
	"fmt"
	"time"
)

const stampLayout = "2006-01-02T15:04:05.000000Z"

// Stamp writes t as records do (contracts §1): UTC, exactly six fractional
// digits, Z. What is finer than a microsecond is cut off.
func Stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

// ParseStamp reads what Stamp wrote; any other spelling is refused.
func ParseStamp(s string) (time.Time, error) {
	t, err := time.Parse(stampLayout, s)
	if err != nil || Stamp(t) != s {
		return time.Time{}, fmt.Errorf("time %.40q: want the form %s", s, stampLayout)
	}
	return t, nil
}

// Time is a time in a record's body: it marshals as Stamp writes it.
type Time struct{ time.Time }

// At returns t for a record's body.
func At(t time.Time) Time { return Time{t} }

// MarshalText writes the form of Stamp.
func (t Time) MarshalText() ([]byte, error) {
	s := Stamp(t.Time)
	if _, err := ParseStamp(s); err != nil {
		return nil, err
	}
	return []byte(s), nil
}

// MarshalJSON writes the form of Stamp as a string.
func (t Time) MarshalJSON() ([]byte, error) {
	s, err := t.MarshalText()
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'"'}, s...), '"'), nil
}

// UnmarshalText reads what Stamp wrote.
func (t *Time) UnmarshalText(text []byte) error {
	v, err := ParseStamp(string(text))
	if err != nil {
		return err
	}
	t.Time = v
	return nil
}

// UnmarshalJSON reads a string that Stamp wrote.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %.40q: want a string", b)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}
