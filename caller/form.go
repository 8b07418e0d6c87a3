package caller

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/grant"
)

// KeyHeader is where a program shows its key to an app that may have a use of its
// own for Authorization. It is removed before the request leaves.
const KeyHeader = "X-Mayfly-Key"

// Form is how programs of one kind of app are told where to go and show their key.
type Form struct {
	// KeyPrefix begins every key: the kind's own clients look at it.
	KeyPrefix string
	// Variables are what a program finds in its environment: name to the value,
	// in which {url} and {key} stand for address and key.
	Variables map[string]string
	// header: the key may stand in KeyHeader, and Authorization is the app's then.
	header bool
}

// FormOf returns the form of a kind of app. Kinds without one of their own have
// that of web.
func FormOf(kind string) Form {
	if kind == "stripe" {
		// A restricted live key, as Stripe's clients know them: a program that takes
		// care with live keys takes care.
		return Form{KeyPrefix: "rk_live_", Variables: map[string]string{"STRIPE_API_BASE": "{url}", "STRIPE_API_KEY": "{key}"}}
	}
	return Form{KeyPrefix: "mk_", Variables: map[string]string{}, header: true}
}

// Environment returns name=value for each variable of the form, and for MAYFLY_URL
// and MAYFLY_KEY, which every kind has.
func (f Form) Environment(url string, key Secret) []string {
	fill := strings.NewReplacer("{url}", url, "{key}", key.Reveal())
	out := []string{"MAYFLY_URL=" + url, "MAYFLY_KEY=" + key.Reveal()}
	for name, value := range f.Variables {
		out = append(out, name+"="+fill.Replace(value))
	}
	return out
}

// take reads the key that a request shows and removes it. Two that could be the
// key are a contradiction, not a choice. Authorization stays where it is the app's:
// beside a key in KeyHeader, and where no key is asked for.
func (f Form) take(h http.Header, asked bool) (shown string, err error) {
	at := "Authorization"
	if _, ok := h[KeyHeader]; f.header && (ok || !asked) {
		at = KeyHeader
	}
	values := h[at]
	h.Del(KeyHeader)
	h.Del(at)
	switch {
	case len(values) > 1:
		return "", grant.Deny(grant.ConflictingHeaders, "the header %s is there %d times", at, len(values))
	case len(values) == 0:
		return "", nil
	case at == KeyHeader:
		return values[0], nil
	default:
		return fromAuthorization(values[0]), nil
	}
}

// fromAuthorization returns the token of Bearer, or the user of Basic with an empty
// password (RFC 6750 §2.1, RFC 7617 §2); "" if it is neither.
func fromAuthorization(value string) string {
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return rest
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		if user, password, ok := strings.Cut(string(pair), ":"); ok && password == "" {
			return user
		}
	}
	return ""
}
