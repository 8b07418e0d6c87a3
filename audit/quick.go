package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Most records are read on a short way, which knows only a part of canonical JSON:
// texts without escapes, keys of ASCII, no numbers. Whatever it does not know goes the
// long way, by a parser of all JSON; what it takes, that parser takes as it stands.

// quickRecord reads an encoded record on the short way; ok is false if it must be read
// on the long one.
func quickRecord(b []byte) (r Record, ok bool) {
	if !utf8.Valid(b) {
		return Record{}, false
	}
	s := quick{rest: string(b)} // all texts of the record are parts of this one
	if !s.take(`{"body":`) {
		return Record{}, false
	}
	body := b[len(b)-len(s.rest):]
	if len(body) == 0 || body[0] != '{' || !s.value(1) {
		return Record{}, false
	}
	r.Body = json.RawMessage(bytes.Clone(body[:len(body)-len(s.rest)]))
	var seq, stamp, kind string
	for _, m := range [...]struct {
		begin string
		to    *string
	}{{`,"id":`, &r.ID}, {`,"node":`, &r.Node}, {`,"seq":`, &seq}, {`,"subject":`, &r.Subject}, {`,"time":`, &stamp}, {`,"type":`, &kind}} {
		if !s.take(m.begin) || !s.string(m.to) {
			return Record{}, false
		}
	}
	if !s.take(`,"v":1}`) || s.rest != "" {
		return Record{}, false
	}
	var err error
	if r.Time, err = ParseStamp(stamp); err != nil {
		return Record{}, false
	}
	if r.Seq, ok = quickNumber(seq); !ok {
		return Record{}, false
	}
	r.Type = Type(kind)
	return r, r.check() == nil
}

// quickCanonical reports whether b is one value in canonical form without a number,
// on the short way: false says nothing.
func quickCanonical(b []byte) bool {
	s := quick{rest: string(b)}
	return utf8.Valid(b) && s.value(0) && s.rest == ""
}

// quick is what is left to be scanned. A method that returns false leaves it anywhere.
type quick struct{ rest string }

func (s *quick) take(text string) bool {
	if !strings.HasPrefix(s.rest, text) {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// text scans a string without escapes, and returns what is between the quotes.
func (s *quick) text() (string, bool) {
	if s.rest == "" || s.rest[0] != '"' {
		return "", false
	}
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			text := s.rest[1:i]
			s.rest = s.rest[i+1:]
			return text, true
		case c == '\\', c < ' ':
			return "", false
		}
	}
	return "", false
}

// string is text into v.
func (s *quick) string(v *string) (ok bool) {
	*v, ok = s.text()
	return ok
}

// value scans one value, inside of depth others.
func (s *quick) value(depth int) bool {
	if s.rest == "" {
		return false
	}
	switch s.rest[0] {
	case '{':
		return depth < maxDepth && s.object(depth+1)
	case '[':
		return depth < maxDepth && s.list(depth+1)
	case '"':
		_, ok := s.text()
		return ok
	default:
		return s.take("true") || s.take("false") || s.take("null")
	}
}

func (s *quick) object(depth int) bool {
	return s.members(func(string) bool { return s.value(depth) })
}

// members scans an object, in which value scans the value of each key.
func (s *quick) members(value func(key string) bool) bool {
	if !s.take("{") {
		return false
	}
	if s.take("}") {
		return true
	}
	last := ""
	for first := true; ; first = false {
		key, ok := s.text()
		if !ok || !ascii(key) || !first && last >= key || !s.take(":") || !value(key) {
			return false
		}
		last = key
		if s.take("}") {
			return true
		}
		if !s.take(",") {
			return false
		}
	}
}

func (s *quick) list(depth int) bool {
	return s.elements(func() bool { return s.value(depth) })
}

// elements scans a list, in which value scans each value.
func (s *quick) elements(value func() bool) bool {
	if !s.take("[") {
		return false
	}
	if s.take("]") {
		return true
	}
	for {
		if !value() {
			return false
		}
		if s.take("]") {
			return true
		}
		if !s.take(",") {
			return false
		}
	}
}

// ascii says that the order of bytes is the order of RFC 8785 §3.2.3.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
