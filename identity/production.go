package identity

import (
	"slices"
	"strings"
)

// Production reports whether a gateway with this SPIFFE ID is in production, as its own
// certificate says and nobody's policy (design §7, observe mode). A path has to say that
// it is not, by a segment that is the name of another environment. Whatever stands there,
// it is if a label of the trust domain or a segment begins with prod, in either case. What
// is no workload is in production.
func Production(p Principal) bool {
	if p.Kind() != KindWorkload {
		return true
	}
	segments := strings.Split(strings.TrimPrefix(p.text, workloadStart), "/")
	domain, path := segments[0], segments[1:]
	if slices.ContainsFunc(append(strings.Split(domain, "."), path...), saysProduction) {
		return true
	}
	return !slices.ContainsFunc(path, func(s string) bool { return slices.Contains(otherWords(), s) })
}

// saysProduction also takes prod-eu, production2 and product: where it is not clear, it is.
func saysProduction(word string) bool { return strings.HasPrefix(strings.ToLower(word), "prod") }

// otherWords are the segments that say that a gateway is not in production.
func otherWords() []string {
	return []string{"dev", "development", "test", "testing", "qa", "sandbox", "stage", "staging"}
}
