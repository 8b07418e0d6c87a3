package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

const (
	loginLife = 10 * time.Minute // from /cli/login to the provider's answer
	codeLife  = 60 * time.Second // from there to /cli/token
)

// Two kinds of login under way, kept apart by the prefix of their key.
const (
	statePrefix = "oidc:"
	codePrefix  = "cli:"
)

// underWay is a login that is at the provider.
type underWay struct {
	Port      int    `json:"port"`
	State     string `json:"state"`     // of the command
	Challenge string `json:"challenge"` // of the command (RFC 7636, S256)
	Keep      []byte `json:"keep"`      // of the provider
}

// proven is a login that waits for the command to come for it.
type proven struct {
	Challenge string             `json:"challenge"`
	Principal identity.Principal `json:"principal"`
	Name      string             `json:"name"`
	Email     string             `json:"email"`
	Groups    []identity.Group   `json:"groups"`
	GroupsAt  time.Time          `json:"groups_at"`
	ACR       string             `json:"acr"`
	AuthTime  time.Time          `json:"auth_time"`
}

// urlText reports whether s is base64url text of a length, as states, challenges
// and codes are.
func urlText(s string, least, most int) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(s) >= least && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(alphabet, c) })
}

func badLogin(detail string) error {
	p := problem(http.StatusBadRequest, codeBadLogin, "Not a login of the mayfly command", detail)
	p.Next = "mayfly login"
	return p
}

// cliLogin sends the browser of somebody who typed mayfly login to the provider
// (contracts §8).
func (s *Server) cliLogin(w http.ResponseWriter, r *http.Request) error {
	if err := s.logins.allow(r); err != nil {
		return err
	}
	q := readQuery(r.URL.RawQuery, "port", "state", "challenge")
	port := q.number("port", 65535)
	if q.err != nil {
		return q.err
	}
	switch {
	case port < 1024:
		return badLogin("port must be one from 1024 to 65535")
	case !urlText(q.text("state"), 22, 128):
		return badLogin("state must be 22 to 128 characters of base64url")
	case !urlText(q.text("challenge"), 43, 43):
		return badLogin("challenge must be the SHA-256 of the verifier in base64url")
	}
	state := random()
	to, keep, err := s.c.Provider.Begin(r.Context(), state)
	if err != nil {
		return s.providerProblem(r.Context(), err)
	}
	body, err := json.Marshal(underWay{Port: port, State: q.text("state"), Challenge: q.text("challenge"), Keep: keep})
	if err != nil {
		return err
	}
	if err := s.service.PutLogin(r.Context(), statePrefix+state, body, loginLife); err != nil {
		return err
	}
	redirect(w, to)
	return nil
}

// oidcCallback takes the provider's answer and sends the browser on to the
// command, with a code or with the reason why there is none.
func (s *Server) oidcCallback(w http.ResponseWriter, r *http.Request) error {
	if err := s.logins.allow(r); err != nil {
		return err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !urlText(query.Get("state"), 43, 43) {
		return badLogin("this is not the answer to a login")
	}
	body, err := s.service.TakeLogin(r.Context(), statePrefix+query.Get("state"))
	if err != nil {
		return err
	}
	var in underWay
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	facts, err := s.c.Provider.Finish(r.Context(), in.Keep, query)
	if err != nil {
		p := s.providerProblem(r.Context(), err)
		redirect(w, in.back(url.Values{"error": {p.Code}, "error_description": {p.Detail}}))
		return nil
	}
	code := random()
	body, err = json.Marshal(proven{
		Challenge: in.Challenge, Principal: facts.Principal, Name: facts.Name, Email: facts.Email,
		Groups: facts.Groups, GroupsAt: s.c.Now().UTC(), ACR: facts.ACR, AuthTime: facts.AuthTime,
	})
	if err != nil {
		return err
	}
	if err := s.service.PutLogin(r.Context(), codePrefix+code, body, codeLife); err != nil {
		return err
	}
	redirect(w, in.back(url.Values{"code": {code}}))
	return nil
}

// back is the address of the command that waits: on this host's loopback, and
// nowhere else.
func (u underWay) back(q url.Values) string {
	q.Set("state", u.State)
	to := url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(u.Port)), Path: "/callback", RawQuery: q.Encode()}
	return to.String()
}

// providerProblem says why a login failed. What the provider said is for the log.
func (s *Server) providerProblem(ctx context.Context, err error) *api.Problem {
	s.c.Log.WarnContext(ctx, "login failed", "cause", err.Error())
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		return problem(http.StatusServiceUnavailable, codeProvider, "The identity provider does not answer", "the identity provider does not answer: try again, and tell your platform team if it lasts")
	case errors.Is(err, oidc.ErrRefused):
		return problem(http.StatusForbidden, codeBadLogin, "The identity provider refused", "the identity provider refused the login")
	default:
		return problem(http.StatusForbidden, codeBadLogin, "The login is not proven", "what the identity provider answered does not prove this login: start again")
	}
}

// cliToken gives the command its session for the code that the browser brought
// and the verifier that only the command knows. A code counts once, whatever
// comes of it.
func (s *Server) cliToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.logins.allow(r); err != nil {
		return err
	}
	var in api.CodeExchange
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if !urlText(in.Code, 43, 43) || !urlText(in.Verifier, 43, 128) {
		return badLogin("code and verifier are not those of a login")
	}
	body, err := s.service.TakeLogin(r.Context(), codePrefix+in.Code)
	if err != nil {
		return err
	}
	var p proven
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(in.Verifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(p.Challenge)) != 1 {
		return badLogin("the verifier is not the one that this login began with")
	}
	return s.openSession(w, r, p)
}

func (s *Server) openSession(w http.ResponseWriter, r *http.Request, p proven) error {
	secret, session, err := s.service.NewSession(r.Context(), access.Login{
		Kind: access.SessionAPI, Principal: p.Principal, Name: p.Name, Email: p.Email, Groups: p.Groups, GroupsAt: p.GroupsAt, ACR: p.ACR, AuthTime: p.AuthTime,
	})
	if err != nil {
		return err
	}
	who, err := s.whoIs(r.Context(), caller{Caller: access.CallerOf(session), session: session})
	if err != nil {
		return fmt.Errorf("whoami: %w", err)
	}
	return writeJSON(w, http.StatusOK, api.NewSession{Secret: secret.Reveal(), Ends: audit.Stamp(session.EndsAt), Whoami: who})
}

// logout ends the session that the caller speaks with.
func (s *Server) logout(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := noBody(r); err != nil {
		return err
	}
	if err := s.service.EndSession(r.Context(), c.session.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// redirect sends the browser on without a body that could run anything.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
