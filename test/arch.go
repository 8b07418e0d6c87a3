package test

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// module is the import path that every package of ours begins with.
const module = "github.com/mayflyproxy/mayfly/"

// rank is a row of design §4. Arrows only go down.
type rank int

const (
	bottom rank = iota + 1
	leaf
	domain
	adapter
	edge
	command
	apart // test/, examples/: may import anything, nothing may import them
)

func (r rank) String() string {
	return map[rank]string{bottom: "bottom", leaf: "leaf", domain: "domain", adapter: "adapter", edge: "edge", command: "command", apart: "test"}[r]
}

// rooms says which row each folder is in; the longest prefix counts.
func rooms() map[string]rank {
	return map[string]rank{
		"identity": bottom, "scope": bottom, "grant": bottom,
		"egress": leaf, // the way out to addresses that others name, for adapters that do not know each other
		"policy": leaf, "audit": leaf, "feed": leaf, "api": leaf, "tokens": leaf,
		"trace":   leaf, // what is told to those who run traces: known to the verbs and to the data path, and knows neither
		"metrics": leaf, // what is told to those who watch: known to the verbs and to the data path
		"process": leaf, // what commands share, that import no command
		"limit":   leaf, // who tries too often, for edges that do not know each other
		"proof":   leaf, // what a gateway checks by itself: it knows neither policy nor who told it
		"access":  domain,
		"app":     adapter, "store": adapter, "spiffe": adapter, "policy/git": adapter, "identity/oidc": adapter,
		"server": edge, "console": edge, "proxy": edge, "xds": edge, "cli": edge, "caller": edge, "oauth": edge,
		"cmd":  command,
		"test": apart, "examples": apart,
	}
}

// within lists the only arrows inside a row, with the reason.
func within(from, to string) bool {
	return from == "grant" && (to == "scope" || to == "identity") || from == "scope" && to == "identity"
}

// Import is one arrow between two packages of ours, as paths below the module.
type Import struct{ From, To string }

// CheckImports returns a sentence for each arrow that design §4 forbids.
func CheckImports(imports []Import) []string {
	var out []string
	for _, i := range imports {
		if why := forbidden(i.From, i.To); why != "" {
			out = append(out, fmt.Sprintf("%s imports %s: %s", i.From, i.To, why))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func forbidden(from, to string) string {
	rf, rt := rankOf(from), rankOf(to)
	switch {
	case rf == 0:
		return "the folder is in no row of design §4; give it one in test/arch.go, with its reason"
	case rt == 0:
		return "the imported folder is in no row of design §4"
	case rf == apart || from == "cmd/mayfly-dev":
		return ""
	case rt == apart:
		return "only tests and cmd/mayfly-dev link the development kit: a product binary that does could trust it"
	case rt == command:
		return "commands are wiring; nothing imports them"
	case kin(from, to):
		return family(from, to)
	case rf == command:
		return ""
	case rf == rt && within(from, to):
		return ""
	case rf == rt:
		return fmt.Sprintf("both are in the row %q, and within a row nobody imports anybody: the user declares an interface and cmd joins them", rf)
	case rt > rf:
		return fmt.Sprintf("arrows only go down: %s is a %s, %s is a %s", from, rf, to, rt)
	case rf == edge && rt == adapter && strings.HasPrefix(to, "store"):
		return "edges reach the store only through access"
	}
	return ""
}

// kin reports whether both packages live under one top folder.
func kin(a, b string) bool { return a != b && top(a) == top(b) }

// family is the rule inside one top folder: a child may import its parent.
func family(from, to string) string {
	switch {
	case top(from) == "cmd" || top(from) == "test":
		return "commands do not import each other"
	case strings.HasPrefix(from, to+"/"):
		return ""
	case strings.HasPrefix(to, from+"/") && strings.Contains(to, "/internal/"):
		return ""
	case strings.HasPrefix(to, from+"/"):
		return "a parent does not import its child: it declares an interface and cmd joins them"
	default:
		return "siblings do not import each other: their parent declares an interface and cmd joins them"
	}
}

func top(p string) string {
	head, _, _ := strings.Cut(p, "/")
	return head
}

func rankOf(p string) rank {
	for dir := p; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if r, ok := rooms()[dir]; ok {
			return r
		}
	}
	return 0
}
