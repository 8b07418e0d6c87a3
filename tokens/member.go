package tokens

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// rawURL is base64url without padding (RFC 7515 §2), in its one canonical form:
// the unused bits of the last character are zero, and nothing is skipped.
func rawURL() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// decode64 reads base64url of the alphabet alone: encoding/base64 skips line ends.
func decode64(s string) ([]byte, error) {
	if !isBase64URL(s) {
		return nil, errors.New("it is not base64url")
	}
	return rawURL().DecodeString(s)
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		b := s[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && !isDigit(b) && b != '-' && b != '_' {
			return false
		}
	}
	return s != ""
}

// digest reads a SHA-256 in base64url.
func (n *node) digest() (out [sha256.Size]byte, err error) {
	s, err := n.str()
	if err != nil {
		return out, err
	}
	b, err := decode64(s)
	if err != nil || len(b) != sha256.Size {
		return out, errors.New("want a SHA-256 in base64url")
	}
	return [sha256.Size]byte(b), nil
}

// str reads a string that is not empty. A missing member is a nil node.
func (n *node) str() (string, error) {
	switch {
	case n == nil:
		return "", errors.New("it is missing")
	case n.kind != kindString:
		return "", errors.New("it is not a string")
	case n.text == "":
		return "", errors.New("it is empty")
	}
	return n.text, nil
}

// strings reads an array of strings that are not empty.
func (n *node) strings() ([]string, error) {
	if n.kind != kindArray || len(n.list) == 0 {
		return nil, errors.New("it is not a list of strings")
	}
	out := make([]string, len(n.list))
	for i := range n.list {
		s, err := n.list[i].str()
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

// one reads a string, or an array of exactly one (RFC 7519 §4.1.3).
func (n *node) one() (string, error) {
	if n != nil && n.kind == kindArray {
		if len(n.list) != 1 {
			return "", errors.New("want exactly one")
		}
		n = &n.list[0]
	}
	return n.str()
}

// maxInteger is the first whole number that not every reader of JSON keeps.
const maxInteger = 1 << 53

// integer reads a whole number below 2^53, written without sign, point or exponent.
func (n *node) integer() (int64, error) {
	if n == nil {
		return 0, errors.New("it is missing")
	}
	if n.kind != kindNumber || strings.Trim(n.text, "0123456789") != "" {
		return 0, errors.New("it is not a whole number")
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || v >= maxInteger {
		return 0, errors.New("the number is too large")
	}
	return v, nil
}

// date reads a NumericDate (RFC 7519 §2) after 1970, in whole seconds.
func (n *node) date() (time.Time, error) {
	v, err := n.integer()
	if err != nil {
		return time.Time{}, err
	}
	if v == 0 {
		return time.Time{}, errors.New("it is no time")
	}
	return time.Unix(v, 0).UTC(), nil
}

// only refuses members of other names.
func (n *node) only(names ...string) error {
	for _, m := range n.members {
		known := false
		for _, name := range names {
			known = known || m.name == name
		}
		if !known {
			return fmt.Errorf("member %s is not of the profile", shown(m.name))
		}
	}
	return nil
}

// exact refuses members that a reader which ignores case would take for one of
// names: "EXP" beside "exp".
func (n *node) exact(names ...string) error {
	for _, m := range n.members {
		for _, name := range names {
			if m.name != name && strings.EqualFold(m.name, name) {
				return fmt.Errorf("member %s is written otherwise than %s", shown(m.name), name)
			}
		}
	}
	return nil
}
