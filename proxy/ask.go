package proxy

import (
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// advise returns d with the smallest entitlement that would cover op and how to
// ask for it. Refusals that asking does not mend stay as they are.
func advise(a *App, p identity.Principal, op scope.Operation, d *grant.Denial) *grant.Denial {
	if a == nil || d.Reason == grant.UnsupportedGrant || d.Reason == grant.NotYet {
		return d
	}
	ask, ok := a.covering(op.Name, p.Kind())
	if !ok {
		return d
	}
	out := *d
	out.Entitlement, out.Next = ask.Entitlement, command(ask, op)
	return &out
}

// command writes what to type to ask for exactly this operation.
func command(ask Ask, op scope.Operation) string {
	values := map[string]string{}
	for _, name := range ask.Required {
		values[name] = "…"
	}
	for _, b := range ask.Bindings {
		if b.Operation != op.Name || values[b.Param] != "" && values[b.Param] != "…" {
			continue
		}
		if v, ok := op.Attributes[b.Attribute]; ok && !v.IsZero() {
			values[b.Param] = v.String()
		}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	words := []string{"mayfly", "request", quote(ask.Entitlement)}
	for _, name := range names {
		words = append(words, "--param", quote(name+"="+values[name]))
	}
	return strings.Join(words, " ")
}

// quote writes s as one word of a POSIX shell. The value came in a request:
// whoever pastes the command must not run it. Control characters are dropped.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\ufffd' || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
	if s != "" && strings.IndexFunc(s, needsQuote) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func needsQuote(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./:=,@%+…", r)
}
