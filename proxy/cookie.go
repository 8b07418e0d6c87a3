package proxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
)

// Our cookies on the hosts of apps (contracts §7). The prefix __Host- keeps other
// hosts and other paths from setting them.
const (
	cookieSession = "__Host-mayfly"
	cookieLogin   = "__Host-mayfly-login"
)

// secretLength is that of 256 bits in base64url.
const secretLength = 43

// cookies is what the Cookie header of a request says to us, and what is left of
// it for the app.
type cookies struct {
	session string // value of ours, "" if there is none
	login   string // likewise
	found   bool   // a session cookie is there, whatever its value
	rest    string // without any cookie of ours
	cut     bool   // rest is not what the caller sent
}

// readCookies splits a Cookie header at its semicolons, as every server does that
// an app might run on. Names that begin as ours do, in any case, are nobody else's
// and do not reach the app. Two of ours could be read as either: denied.
func readCookies(values []string) (cookies, *grant.Denial) {
	c := cookies{cut: len(values) > 1}
	var rest []string
	var logins int
	for pair := range strings.SplitSeq(strings.Join(values, ";"), ";") {
		pair = strings.Trim(pair, " \t")
		name, value, _ := strings.Cut(pair, "=")
		name = strings.TrimRight(name, " \t")
		if !ourCookie(name) {
			if pair != "" {
				rest = append(rest, pair)
			}
			continue
		}
		c.cut = true
		switch name {
		case cookieSession:
			if c.found {
				return cookies{}, grant.Deny(grant.ConflictingHeaders, "the cookie %s is there more than once", cookieSession)
			}
			c.session, c.found = strings.TrimLeft(value, " \t"), true
		case cookieLogin:
			if logins++; logins > 1 {
				return cookies{}, grant.Deny(grant.ConflictingHeaders, "the cookie %s is there more than once", cookieLogin)
			}
			c.login = strings.TrimLeft(value, " \t")
		}
	}
	c.rest = strings.Join(rest, "; ")
	return c, nil
}

func ourCookie(name string) bool {
	return len(name) >= len(cookieSession) && strings.EqualFold(name[:len(cookieSession)], cookieSession)
}

// secret is what proves a session, or that a login began in this browser: 256
// random bits. It is in a cookie and nowhere else; it prints as redacted.
type secret struct{ text string }

func newSecret() secret {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	return secret{base64.RawURLEncoding.EncodeToString(raw[:])}
}

// parseSecret takes what newSecret can have made.
func parseSecret(text string) (secret, bool) {
	if len(text) != secretLength {
		return secret{}, false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return secret{text}, err == nil && !strings.ContainsAny(text, "\r\n")
}

// hash is all of it that leaves the gateway.
func (s secret) hash() [32]byte { return sha256.Sum256([]byte(s.text)) }

// String returns "redacted".
func (s secret) String() string { return "redacted" }

// GoString returns "redacted".
func (s secret) GoString() string { return "redacted" }

// setCookie writes a cookie of ours, for as long as the browser runs or for a
// number of seconds; life is what stands behind Max-Age, "" for none.
func setCookie(name, value, life string) string {
	out := name + "=" + value + "; Path=/; Secure; HttpOnly; SameSite=Lax"
	if life != "" {
		out += "; Max-Age=" + life
	}
	return out
}
