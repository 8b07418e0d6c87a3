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
	if t, ok := quickStamp(s); ok {
		return t, nil
	}
	t, err := time.Parse(stampLayout, s)
	if err != nil || Stamp(t) != s {
		return time.Time{}, fmt.Errorf("time %.40q: want the form %s", s, stampLayout)
	}
	return t, nil
}

// quickStamp is ParseStamp for what is plainly of the form; ok is false where the library
// is to say what is wrong.
func quickStamp(s string) (t time.Time, ok bool) {
	if len(s) != len(stampLayout) {
		return time.Time{}, false
	}
	digits := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if s[i] < '0' || s[i] > '9' {
				return -1
			}
			n = 10*n + int(s[i]-'0')
		}
		return n
	}
	year, month, day := digits(0, 4), digits(5, 7), digits(8, 10)
	hour, minute, second, micros := digits(11, 13), digits(14, 16), digits(17, 19), digits(20, 26)
	if min(year, hour, minute, second, micros) < 0 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' || s[26] != 'Z' {
		return time.Time{}, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, micros*1000, time.UTC)
	return t, t.Day() == day // else the month has no such day
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
