package server

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

const (
	maxContexts = 8
	maxContext  = 128 // bytes of one's name
	maxMaxAge   = 24 * 60 * 60
)

// loginAsked is what a gateway asks of a login beyond that there is one (RFC 9470 §4).
type loginAsked struct {
	contexts []string // one of these; none: any
	maxAge   int      // seconds since the person showed up at the provider; 0: any
}

func readLoginAsked(q *query) (out loginAsked, err error) {
	out.maxAge = q.number("max_age", maxMaxAge)
	out.contexts = strings.Fields(q.text("acr"))
	odd := func(s string) bool {
		return len(s) > maxContext || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
	}
	if q.err == nil && (len(out.contexts) > maxContexts || slices.ContainsFunc(out.contexts, odd)) {
		q.err = invalid("parameter acr is not a list of names of authentication contexts")
	}
	return out, q.err
}

// met reports whether a login that there was is enough.
func (a loginAsked) met(s access.Session, now time.Time) bool {
	if len(a.contexts) > 0 && !slices.Contains(a.contexts, s.ACR) {
		return false
	}
	return a.maxAge == 0 || !s.AuthTime.IsZero() && now.Sub(s.AuthTime) < time.Duration(a.maxAge)*time.Second
}

// at adds what is asked to the address of a provider (OpenID Connect Core §3.1.2.1).
func (a loginAsked) at(address string) (string, error) {
	if len(a.contexts) == 0 && a.maxAge == 0 {
		return address, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if len(a.contexts) > 0 {
		q.Set("acr_values", strings.Join(a.contexts, " "))
	}
	if a.maxAge > 0 {
		q.Set("max_age", strconv.Itoa(a.maxAge))
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
