package audit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Most records are read on a short way, which knows only a part of canonical JSON:
// texts without escapes, keys of ASCII, no numbers. Whatever it does not know goes the
// long way, by a parser of all JSON; what it takes, that parser takes as it stands.

// quickRecord reads an encoded record on the short way; ok is false if it must be read
// on the long one.
func quickRecord(b []byte) (r Record, ok bool) {
	s := quick{rest: b}
	if !utf8.Valid(b) || !s.take(`{"body":`) {
		return Record{}, false
	}
	body := s.rest
	if len(body) == 0 || body[0] != '{' || !s.value(1) {
		return Record{}, false
	}
	r.Body = json.RawMessage(bytes.Clone(body[:len(body)-len(s.rest)]))
	var seq, stamp, kind string
	members := []struct {
		key string
		to  *string
	}{{"id", &r.ID}, {"node", &r.Node}, {"seq", &seq}, {"subject", &r.Subject}, {"time", &stamp}, {"type", &kind}}
	for _, m := range members {
		if !s.take(`,"`) || !s.take(m.key) || !s.take(`":`) {
			return Record{}, false
		}
		text, ok := s.text()
		if !ok {
			return Record{}, false
		}
		*m.to = string(text)
	}
	if !s.take(`,"v":1}`) || len(s.rest) > 0 {
		return Record{}, false
	}
	var err error
	if r.Time, err = ParseStamp(stamp); err != nil {
		return Record{}, false
	}
	if r.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || strconv.FormatUint(r.Seq, 10) != seq {
		return Record{}, false
	}
	r.Type = Type(kind)
	return r, r.check() == nil
}

// quickCanonical reports whether b is one value in canonical form without a number,
// on the short way: false says nothing.
func quickCanonical(b []byte) bool {
	s := quick{rest: b}
	return utf8.Valid(b) && s.value(0) && len(s.rest) == 0
}

// quick is what is left to be scanned. A method that returns false leaves it anywhere.
type quick struct{ rest []byte }

func (s *quick) take(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// text scans a string without escapes, and returns what is between the quotes.
func (s *quick) text() ([]byte, bool) {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false
	}
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			text := s.rest[1:i]
			s.rest = s.rest[i+1:]
			return text, true
		case c == '\\', c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// value scans one value, inside of depth others.
func (s *quick) value(depth int) bool {
	if len(s.rest) == 0 {
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
	s.rest = s.rest[1:]
	if s.take("}") {
		return true
	}
	var last []byte
	for first := true; ; first = false {
		key, ok := s.text()
		if !ok || !ascii(key) || !first && bytes.Compare(last, key) >= 0 || !s.take(":") || !s.value(depth) {
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
	s.rest = s.rest[1:]
	if s.take("]") {
		return true
	}
	for {
		if !s.value(depth) {
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
func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
