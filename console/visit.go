package console

import (
	"encoding"
	"net/http"
	"slices"
	"strconv"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// maxSecret bounds the text that is looked up as a session, in bytes.
const maxSecret = 128

// visit is one call by a person who is logged in.
type visit struct {
	access.Caller
	session  access.Session
	Security bool // of the group that sees everything; only links depend on it
}

// Name is how the person is called in the corner of a page.
func (v *visit) Name() string {
	if v.session.Name != "" {
		return v.session.Name
	}
	return v.Principal.String()
}

// action answers a GET; nothing is written when it returns an error.
type action func(w http.ResponseWriter, r *http.Request, v *visit) error

// visit returns who calls, by the cookie of the console session and nothing else.
func (c *Console) visit(r *http.Request) (*visit, error) {
	cookies := r.CookiesNamed(api.ConsoleCookie)
	if len(cookies) != 1 || cookies[0].Value == "" || len(cookies[0].Value) > maxSecret {
		return nil, &access.Fault{Code: access.CodeNoSession, Sentence: "you are not logged in, or your login has ended"}
	}
	s, err := c.service.Session(r.Context(), access.SessionConsole, access.ParseSessionSecret(cookies[0].Value))
	if err != nil {
		return nil, err
	}
	v := &visit{Caller: access.CallerOf(s), session: s}
	set, err := c.service.Policy(r.Context())
	switch {
	case err == nil:
		v.Security = !set.Security().IsZero() && slices.Contains(v.Groups, set.Security())
	case access.CodeOf(err) != access.CodeNoPolicy:
		return nil, err
	}
	return v, nil
}

// get proves the caller of a page, and sends whoever is nobody to log in.
func (c *Console) get(f action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visit(r)
		if access.CodeOf(err) == access.CodeNoSession {
			w.Header().Set("Location", loginURL(r))
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		if err == nil {
			err = f(w, r, v)
		}
		if err != nil {
			c.refuse(w, r, v, err)
		}
	}
}

// pathID reads the {id} of a path. What is no id is answered like what is not there.
func pathID(r *http.Request, into encoding.TextUnmarshaler) error {
	text := r.PathValue("id")
	if text == "" || into.UnmarshalText([]byte(text)) != nil {
		return &access.Fault{Code: access.CodeNotFound, Sentence: "there is no " + strconv.Quote(clip(text)) + " that you can see"}
	}
	return nil
}

func redirect(w http.ResponseWriter, to string) error {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
