package server

import (
	"mime"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

const (
	confirmPath = "/login/confirm"
	confirmLife = 3 * time.Minute // from the provider's answer to the person's
)

// confirmation is a login of the command that its person has not said yes to. A
// provider may log somebody in without a word, and whatever runs on their machine can
// begin a login and listen at a loopback address: until they answer there is no code
// (RFC 8252 §8.6). Its key holds the token of the page and the browser that logged in,
// so nobody answers for somebody else.
type confirmation struct {
	Kept  []byte       `json:"kept"` // what Server.Login was given
	Login access.Login `json:"login"`
}

func confirmKey(token, browser string) string { return "confirm:" + token + "." + browser }

// askToConfirm shows the page on which the person answers.
func (s *Server) askToConfirm(w http.ResponseWriter, r *http.Request, c confirmation) error {
	ask, err := s.c.Authorization.Asks(c.Kept)
	if err != nil {
		return err
	}
	ask.Name, ask.Principal, ask.Token = c.Login.Name, c.Login.Principal.String(), random()
	if err := s.keep(r.Context(), confirmKey(ask.Token, bind(w, r)), c, confirmLife); err != nil {
		return err
	}
	if s.c.Pages == nil {
		return writeJSON(w, http.StatusOK, ask)
	}
	s.c.Pages.Confirm(w, r, ask)
	return nil
}

// confirm takes the person's answer, once, and sends the browser on to the command.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) error {
	if err := s.ownPage(r); err != nil {
		return err
	}
	if err := s.logins.allow(r); err != nil {
		return err
	}
	token, yes, err := readAnswer(w, r)
	if err != nil {
		return err
	}
	var c confirmation
	err = s.take(r.Context(), confirmKey(token, cookie(r, browserCookie)), &c)
	if access.CodeOf(err) == access.CodeNoSession {
		return s.notUnderWay()
	}
	if err != nil {
		return err
	}
	if !yes {
		s.c.Authorization.LoginFailed(w, r, c.Kept, problem(http.StatusForbidden, codeBadLogin, "Cancelled", "the login was cancelled in the browser"))
		return nil
	}
	s.c.Authorization.LoggedIn(w, r, c.Kept, c.Login)
	return nil
}

// readAnswer reads the form of the page: its token, and which button was pressed.
func readAnswer(w http.ResponseWriter, r *http.Request) (token string, yes bool, err error) {
	bad := badLogin("Not an answer", "this is not the answer to a question of Mayfly's", "mayfly login")
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		return "", false, bad
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	if r.ParseForm() != nil {
		return "", false, bad
	}
	token, once := one(r.PostForm, "token")
	answer, clear := one(r.PostForm, "answer")
	if !once || !clear || !urlText(token, 43, 43) || answer != "continue" && answer != "cancel" {
		return "", false, bad
	}
	return token, answer == "continue", nil
}
