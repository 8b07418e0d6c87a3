package caller

import (
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
)

// Next steps that refusals name.
const (
	nextKey  = "send the key of this run where the documentation of mayfly exec says: it is in the environment of the program that mayfly exec started, or in the key file of mayfly-sidecar caller"
	nextHost = "use the address as it was given, MAYFLY_URL"
)

// admission is what a request is let in by.
type admission struct {
	form   Form
	secret Secret // zero: the socket's own credentials are proof enough
	hosts  []string
}

// admit takes the key out of r and returns nil if r comes from a program of this
// run. It can only say no; what r may do is the gateway's to decide.
func (a admission) admit(r *http.Request, from peer) error {
	for _, rule := range []func(*http.Request) error{from.own, checkTarget, a.checkHost, checkSite, a.checkKey, a.checkLeak} {
		if err := rule(r); err != nil {
			return err
		}
	}
	return nil
}

// checkTarget refuses what is not one plain request to this host: a target that
// names another (RFC 9112 §3.2.2), a tunnel, a change of protocol.
func checkTarget(r *http.Request) error {
	switch {
	case r.Method == http.MethodConnect, r.Method == http.MethodTrace:
		return grant.Deny(grant.Malformed, "%s is not passed on", r.Method)
	case !strings.HasPrefix(r.RequestURI, "/"):
		return grant.Deny(grant.Malformed, "the request names %.64q, which is no path: this is not a proxy for other hosts", r.RequestURI)
	case len(r.Header["Upgrade"]) > 0:
		return grant.Deny(grant.Malformed, "the request asks to change to another protocol, which is not passed on")
	}
	return nil
}

// checkHost refuses every other name by which this address can be reached: a page
// whose own host name was pointed here (DNS rebinding), or a server that was given
// one, shows that name.
func (a admission) checkHost(r *http.Request) error {
	for _, h := range a.hosts {
		if r.Host == h {
			return nil
		}
	}
	d := grant.Deny(grant.CrossSite, "the request is for the host %.64q, and here is %s", r.Host, strings.Join(a.hosts, " or "))
	d.Next = nextHost
	return d
}

// checkSite refuses what a browser sent for a page. Sec-Fetch-Mode alone is no sign
// of one: the fetch of Node sends it, and browsers send Sec-Fetch-Site beside it
// (Fetch Metadata §2).
func checkSite(r *http.Request) error {
	for _, name := range [...]string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-User", "Access-Control-Request-Method"} {
		if _, ok := r.Header[name]; ok {
			d := grant.Deny(grant.CrossSite, "the header %s says that a web page sent this, and pages are not served here", name)
			d.Next = "call from a program, not from a browser"
			return d
		}
	}
	return nil
}

func (a admission) checkKey(r *http.Request) error {
	shown, err := a.form.take(r.Header, !a.secret.IsZero())
	switch {
	case err != nil:
		return err
	case a.secret.IsZero(), a.secret.matches(shown):
		return nil
	}
	text := "the key is not the one of this run"
	if shown == "" {
		text = "no key is shown"
	}
	d := grant.Deny(grant.NoIdentity, "%s", text)
	d.Next = nextKey
	return d
}

// checkLeak refuses a request that would carry the key on: gateway and app keep
// what they are sent.
func (a admission) checkLeak(r *http.Request) error {
	leaks := a.secret.isIn(r.RequestURI)
	for name, values := range r.Header {
		leaks = leaks || a.secret.isIn(name)
		for _, v := range values {
			leaks = leaks || a.secret.isIn(v)
		}
	}
	if !leaks {
		return nil
	}
	d := grant.Deny(grant.ConflictingHeaders, "the key stands in a second place, from where it would leave this machine")
	d.Next = "send it in one header only"
	return d
}
