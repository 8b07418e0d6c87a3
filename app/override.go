package app

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/grant"
)

// overrides are request headers by which some frameworks take another method or
// path than the one on the request line, and so than the one decided on.
func overrides() [7]string {
	return [7]string{
		"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
		"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "X-Forwarded-Uri",
	}
}

// CheckOverrides refuses, as conflicting headers, a request that asks the app to
// take another method or path than the one decided on.
func CheckOverrides(h http.Header) error {
	for _, name := range overrides() {
		if _, ok := h[name]; ok {
			return grant.Deny(grant.ConflictingHeaders, "the header %s asks for another method or path than the request line", name)
		}
	}
	return nil
}

// OneValue returns the value of a header that may be there at most once, "" if
// it is not there. Several values are refused as conflicting headers.
func OneValue(h http.Header, name string) (string, error) {
	values := h[http.CanonicalHeaderKey(name)]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", grant.Deny(grant.ConflictingHeaders, "the header %s is there %d times", name, len(values))
	}
}
