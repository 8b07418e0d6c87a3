package identity

import (
	"slices"
	"strings"
)

// Production reports whether a gateway with this SPIFFE ID is in production, as its own
// certificate says and nobody's policy (design §7, observe mode). A path has to say that
// it is not, by a segment that is the name of another environment, and must not say
// prod or production beside it. What is no workload is in production.
func Production(p Principal) bool {
	if p.Kind() != KindWorkload {
		return true
	}
	segments := strings.Split(strings.TrimPrefix(p.text, workloadStart), "/")[1:] // without the trust domain
	is := func(words []string) bool {
		return slices.ContainsFunc(segments, func(s string) bool { return slices.Contains(words, s) })
	}
	return is(productionWords()) || !is(otherWords())
}

func productionWords() []string { return []string{"prod", "production"} }

// otherWords are the segments that say that a gateway is not in production.
func otherWords() []string {
	return []string{"dev", "development", "test", "testing", "qa", "sandbox", "stage", "staging"}
}
