package app

import (
	"strings"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/grant"
)

// Path is a request path that can be read in one way only: every segment is
// decoded once, and no decoder between here and the app can find other segments
// in it. The zero value is no path.
type Path struct {
	Segments []string // decoded; none for "/"
	Slash    bool     // a slash follows the last segment
	Query    string   // as sent, without the question mark
	HasQuery bool     // a question mark was sent, even with nothing after it
}

// ParsePath reads the path of a request as forwarded, with its query. It refuses
// as malformed whatever two servers are known to read differently: empty and dot
// segments, encoded slashes, backslashes, semicolons, double encoding, needless
// escapes, control characters, bytes that are not UTF-8 and anything that is not
// in origin form (RFC 9112 §3.2.1).
func ParsePath(raw string) (Path, error) {
	if !strings.HasPrefix(raw, "/") {
		return Path{}, grant.Deny(grant.Malformed, "the path does not begin with a slash")
	}
	for i := range len(raw) {
		if raw[i] <= 0x20 || raw[i] >= 0x7f || raw[i] == '#' {
			return Path{}, grant.Deny(grant.Malformed, "the path has a byte that must be percent-encoded")
		}
	}
	var p Path
	raw, p.Query, p.HasQuery = strings.Cut(raw, "?")
	if raw == "/" {
		return p, nil
	}
	raw, p.Slash = strings.CutSuffix(raw[1:], "/")
	for _, s := range strings.Split(raw, "/") {
		segment, err := decodeSegment(s)
		if err != nil {
			return Path{}, err
		}
		p.Segments = append(p.Segments, segment)
	}
	return p, nil
}

// String returns the decoded path, without the query. No two different lists of
// segments give the same text, because no segment holds a slash.
func (p Path) String() string {
	s := "/" + strings.Join(p.Segments, "/")
	if p.Slash {
		return s + "/"
	}
	return s
}

func decodeSegment(s string) (string, error) {
	switch s {
	case "":
		return "", grant.Deny(grant.Malformed, "the path has an empty segment")
	case ".", "..":
		return "", grant.Deny(grant.Malformed, "the path has a dot segment")
	}
	if strings.ContainsAny(s, `;\`) {
		return "", grant.Deny(grant.Malformed, "the path has a semicolon or a backslash, which apps read in different ways")
	}
	if !strings.Contains(s, "%") {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		b, ok := HexByte(s[i+1:])
		if !ok {
			return "", grant.Deny(grant.Malformed, "the path has a broken percent-encoding")
		}
		if !mayEscape(b) {
			return "", grant.Deny(grant.Malformed, "the path has the percent-encoding %s, which apps read in different ways", s[i:i+3])
		}
		out = append(out, b)
		i += 2
	}
	if !utf8.Valid(out) {
		return "", grant.Deny(grant.Malformed, "the path is not UTF-8")
	}
	return string(out), nil
}

// mayEscape reports whether b may be percent-encoded in a path: not an
// unreserved character (RFC 3986 §6.2.2.2 has them plain, so that %2e is no
// dot), not a separator of any server, not a percent sign, no control character.
func mayEscape(b byte) bool {
	if b < 0x20 || b == 0x7f || unreserved(b) {
		return false
	}
	return !strings.ContainsRune(`/\;%?#`, rune(b))
}

func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0
}

// HexByte reads the two hexadecimal digits at the beginning of s.
func HexByte(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	hi, lo := nibble(s[0]), nibble(s[1])
	return byte(hi<<4 | lo&15), hi >= 0 && lo >= 0
}

func nibble(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	default:
		return -1
	}
}
