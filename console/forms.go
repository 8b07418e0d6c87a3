package console

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/access"
)

// maxForm bounds what is posted, in bytes.
const maxForm = 64 << 10

// form is what was posted: each field once.
type form map[string]string

// formAction carries out a form; nothing is written when it returns an error.
type formAction func(w http.ResponseWriter, r *http.Request, v *visit, f form) error

// post takes a form from a page of ours, by whoever is logged in. Of what comes
// from elsewhere nothing is read.
func (c *Console) post(f formAction) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !c.ownPage(r) {
			c.refuse(w, r, nil, problem(http.StatusForbidden, "cross_site", "Not from a page of Mayfly",
				"This form was sent from another site. Nothing was done. If it was you, open the page here and send it again."))
			return
		}
		in, err := readForm(w, r)
		if err != nil {
			c.refuse(w, r, nil, err)
			return
		}
		v, err := c.visit(r)
		if access.CodeOf(err) == access.CodeNoSession {
			err = c.loggedOut(w, r, in)
		} else if err == nil {
			err = f(w, r, v, in)
		}
		if err != nil {
			c.refuse(w, r, v, err)
		}
	}
}

// ownPage reports whether the browser says that a page of this origin, or the
// person themselves, sent r. Another page of the same site does not count: apps
// may be siblings of the console.
func (c *Console) ownPage(r *http.Request) bool {
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) > 0 {
		return len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")
	}
	origin := r.Header.Values("Origin")
	return len(origin) == 1 && origin[0] == c.c.Origin
}

// readForm reads a body of the form a=b&c=d.
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.Header.Get("Content-Encoding") != "" {
		return nil, problem(http.StatusUnsupportedMediaType, "content_type", "Not a form", "Only the forms of these pages are taken here.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, problem(http.StatusRequestEntityTooLarge, "too_large", "Too large", "A form has at most 64 KiB. Nothing was done.")
	}
	values, err2 := url.ParseQuery(string(body))
	if err != nil || err2 != nil {
		return nil, badForm("it cannot be read")
	}
	out := form{}
	for name, all := range values {
		if len(all) != 1 {
			return nil, badForm("field " + strconv.Quote(clip(name)) + " stands twice")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(all[0]) {
			return nil, badForm("it is not UTF-8")
		}
		out[name] = strings.ReplaceAll(all[0], "\r\n", "\n")
	}
	return out, nil
}

func badForm(why string) error {
	return problem(http.StatusBadRequest, "bad_form", "The form cannot be understood", "Nothing was done: "+why+".")
}

// field is one hidden field of a form that is offered again.
type field struct{ Name, Value string }

// loggedOut keeps what was posted by somebody whose login has ended, so that it
// can be sent again after a login in another window.
func (c *Console) loggedOut(w http.ResponseWriter, r *http.Request, in form) error {
	var fields []field
	for name, value := range in {
		fields = append(fields, field{name, value})
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	return c.render(w, r, http.StatusUnauthorized, "loggedout", page{Title: "Log in again", Body: struct {
		Action string
		Fields []field
	}{r.URL.Path, fields}})
}

// newKey returns what makes a form count once however often it is sent.
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// validKey reports whether a key is one that newKey made.
func validKey(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16
}
