package proxy

import (
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
)

// checkSite refuses a request that may change something and that a page of another
// site, or of a sibling host, made the browser send: the cookie alone does not say
// that the person meant it (contracts §7).
func checkSite(r *Request) *grant.Denial {
	acts := !reads(r.HTTP.Method) && r.HTTP.Method != http.MethodOptions
	// A WebSocket begins with a GET, and the page that opened it may read and write.
	if !acts && r.HTTP.Header.Get("Upgrade") == "" || ownPage(r) {
		return nil
	}
	return grant.Deny(grant.CrossSite, "a %.16s that did not come from a page of this host is not carried out", r.HTTP.Method)
}

// ownPage reports whether the browser says that this host's own page, or the
// person by hand, made the request.
func ownPage(r *Request) bool {
	if sites := r.HTTP.Header["Sec-Fetch-Site"]; len(sites) > 0 {
		return len(sites) == 1 && (sites[0] == "same-origin" || sites[0] == "none")
	}
	origins := r.HTTP.Header["Origin"]
	return len(origins) == 1 && strings.EqualFold(origins[0], origin(r))
}

// origin is the https origin that the request was sent to, as browsers write it.
func origin(r *Request) string {
	return "https://" + strings.TrimSuffix(strings.ToLower(r.HTTP.Authority), ":443")
}
