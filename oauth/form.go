package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	maxForm  = 48 << 10 // bytes of a body: two tokens of 8 KiB and details of 16 KiB, escaped
	maxQuery = 24 << 10 // bytes of the query of an authorization request
	maxNames = 40       // parameters of one request, unknown ones among them
	maxToken = 8 << 10  // bytes of a token; longer ones are read by nobody
	maxWord  = 512      // bytes of any other parameter
	maxJSON  = 16 << 10 // bytes of authorization_details
)

// form is the parameters of a request: each there once, of bounded size, text. An
// empty parameter counts as left out, and one that nobody knows is passed over (RFC
// 6749 §3.1, §3.2). It is checked whole before any of it is used.
type form struct{ values url.Values }

// limits says which parameters may be longer than maxWord.
func limits() map[string]int {
	return map[string]int{
		"subject_token": maxToken, "actor_token": maxToken, "client_assertion": maxToken, "token": maxToken,
		"authorization_details": maxJSON, "redirect_uri": 2048, "resource": 2048, "code_verifier": 128,
	}
}

// readForm reads the one form that the body of a POST must be.
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || kind != "application/x-www-form-urlencoded" || charset != "" && !strings.EqualFold(charset, "utf-8") || len(r.Header.Values("Content-Type")) > 1 {
		return form{}, refuse(InvalidRequest, "the body must be application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return form{}, refuse(InvalidRequest, "parameters belong into the body")
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return form{}, refuse(InvalidRequest, "the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return form{}, refuse(InvalidRequest, "the body is too large").with(http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return form{}, refuse(InvalidRequest, "the body ended early")
	}
	return parseForm(string(body))
}

// readQuery reads the parameters of an authorization request.
func readQuery(r *http.Request) (form, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return form{}, refuse(InvalidRequest, "the address is too long")
	}
	return parseForm(r.URL.RawQuery)
}

func parseForm(text string) (form, error) {
	if strings.Count(text, "&") >= maxNames {
		return form{}, refuse(InvalidRequest, "there are too many parameters")
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return form{}, refuse(InvalidRequest, "the parameters are not properly encoded")
	}
	out := form{url.Values{}}
	long := limits()
	for name, all := range values {
		if len(all) > 1 && name == "resource" {
			return form{}, refuse(InvalidTarget, "a token is for one resource: give resource once") // RFC 8707 §2
		}
		if len(all) > 1 {
			return form{}, refuse(InvalidRequest, "a parameter is there twice")
		}
		limit, ok := long[name]
		if !ok {
			limit = maxWord
		}
		switch value := all[0]; {
		case len(name) > maxWord || len(value) > limit:
			return form{}, refuse(InvalidRequest, "a parameter is too long")
		case !utf8.ValidString(name) || !utf8.ValidString(value) || strings.ContainsFunc(value, control):
			return form{}, refuse(InvalidRequest, "a parameter is not plain text")
		case value != "":
			out.values.Set(name, value)
		}
	}
	return out, nil
}

// control reports a character that stands in no parameter; JSON has its own.
func control(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f }

func (f form) get(name string) string { return f.values.Get(name) }

func (f form) has(name string) bool { return f.values.Has(name) }

// need returns a parameter that must be there.
func (f form) need(name string) (string, error) {
	if !f.has(name) {
		return "", refuse(InvalidRequest, name+" is missing")
	}
	return f.get(name), nil
}
