package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mayflyproxy/mayfly/identity"
)

const (
	maxName   = 200 // characters of a name as shown
	maxSID    = 255 // bytes of the provider's id of its session
	maxGroups = 1000
)

// claims is one JSON object about a person, each member by its exact name.
type claims map[string]json.RawMessage

// at returns what lies at a path: the member of that very name, else, for a path
// with dots, what lies further inside the member with the longest name that the
// path begins with. null counts as absent.
func (c claims) at(path string) (json.RawMessage, bool) {
	if v, ok := c[path]; ok {
		return v, string(v) != "null"
	}
	for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path[:i], '.') {
		v, ok := c[path[:i]]
		if !ok {
			continue
		}
		var inner claims
		if json.Unmarshal(v, &inner) != nil {
			return nil, false
		}
		return inner.at(path[i+1:])
	}
	return nil, false
}

// text returns the text at a path, "" if there is none. Anything else that is
// there is an error.
func (c claims) text(path string) (string, error) {
	raw, ok := c.at(path)
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("claim %s is not a text", path)
	}
	return s, nil
}

// seconds returns the time at a path, zero if there is none.
func (c claims) seconds(path string) (time.Time, error) {
	raw, ok := c.at(path)
	if !ok {
		return time.Time{}, nil
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil || raw[0] == '"' {
		return time.Time{}, fmt.Errorf("claim %s is not a number", path)
	}
	f, err := n.Float64() // NumericDate may have a fraction (RFC 7519 §2)
	if err != nil || f < 0 || f > 1<<40 {
		return time.Time{}, fmt.Errorf("claim %s is not a time", path)
	}
	return time.Unix(int64(f), 0).UTC(), nil
}

// told are the places where claims are looked for, the first that has one counts.
type told []claims

func (t told) at(path string) (json.RawMessage, bool) {
	for _, c := range t {
		if v, ok := c.at(path); ok {
			return v, true
		}
	}
	return nil, false
}

func (t told) text(path string) (string, error) {
	for _, c := range t {
		if s, err := c.text(path); err != nil || s != "" {
			return s, err
		}
	}
	return "", nil
}

// email returns the e-mail if the provider vouches for it in the same place.
func (t told) email(path string) (string, error) {
	for _, c := range t {
		s, err := c.text(path)
		if err != nil {
			return "", err
		}
		if s == "" {
			continue
		}
		if string(c["email_verified"]) != "true" { // the boolean: a text is not one
			return "", nil
		}
		return strings.ToLower(printable(s, maxName)), nil
	}
	return "", nil
}

// groups reads the groups claim. A name that cannot be a group of ours is left
// out; it could be in no policy either. found says that the claim is there.
func (t told) groups(c Config) (out []identity.Group, found bool, err error) {
	raw, ok := t.at(c.GroupsClaim)
	if !ok {
		if t.elsewhere(c.GroupsClaim) {
			return nil, false, fmt.Errorf("claim %s is too long for the provider's token, which only says where else it lies; make it send fewer groups, or ask userinfo", c.GroupsClaim)
		}
		return nil, false, nil
	}
	names, err := groupNames(raw)
	if err != nil {
		return nil, true, fmt.Errorf("claim %s %w", c.GroupsClaim, err)
	}
	seen := map[identity.Group]bool{}
	for _, name := range names {
		if c.GroupsStripSlash {
			name = strings.TrimPrefix(name, "/")
		}
		g, err := identity.ParseGroup("group:" + c.Name + "/" + name)
		if err == nil && !seen[g] {
			seen[g] = true
			out = append(out, g)
		}
	}
	return out, true, nil
}

// elsewhere reports whether a claim is only pointed at (OIDC Core §5.6.2). No
// groups would be the wrong reading of it.
func (t told) elsewhere(claim string) bool {
	for _, c := range t {
		var names claims
		if json.Unmarshal(c["_claim_names"], &names) == nil {
			if _, ok := names[claim]; ok {
				return true
			}
		}
	}
	return false
}

// groupNames takes a list of texts, or one text that cannot be meant as a list.
func groupNames(raw json.RawMessage) ([]string, error) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		switch {
		case strings.ContainsAny(one, " ,\t\r\n"):
			return nil, errors.New("is one text with spaces or commas: want a list of texts")
		case one == "":
			return nil, nil
		}
		return []string{one}, nil
	}
	var entries []json.RawMessage
	if json.Unmarshal(raw, &entries) != nil {
		return nil, errors.New("is not a list of texts")
	}
	if len(entries) > maxGroups {
		return nil, fmt.Errorf("has more than %d groups", maxGroups)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		if e[0] != '"' || json.Unmarshal(e, &names[i]) != nil {
			return nil, errors.New("is not a list of texts")
		}
	}
	return names, nil
}

// printable cuts s to limit characters and drops those that do not print.
func printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			continue
		}
		if n++; n > limit {
			break
		}
		b.WriteRune(c)
	}
	return strings.TrimSpace(b.String())
}
