package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// authorization is an authorization request of the command that was accepted: where
// its browser goes back, and what the code will be bound to.
type authorization struct {
	Redirect  string `json:"redirect"`
	State     string `json:"state,omitempty"`
	Challenge string `json:"challenge"`     // RFC 7636, S256
	Key       string `json:"key,omitempty"` // dpop_jkt, RFC 9449 §10
}

// callbackPath is the path of the command's loopback address.
const callbackPath = "/callback"

// isLoopback reports whether address is the command's: plain http to 127.0.0.1 or
// [::1], any port, and exactly that path (RFC 8252 §7.3).
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(u.Host)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	if err != nil || notNumber != nil || n < 1024 || strconv.FormatUint(n, 10) != port || host != "127.0.0.1" && host != "::1" {
		return false
	}
	return address == "http://"+net.JoinHostPort(host, port)+callbackPath
}

// authorize begins the command's login in the browser of its person (RFC 6749 §4.1.1
// with PKCE). An error goes back to the command's own address, once that is known to
// be one.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, _ door) error {
	f, err := readQuery(r)
	if err != nil {
		return err
	}
	if f.get("client_id") != CommandClient {
		return refuse(UnauthorizedClient, "no client of this client_id logs people in here")
	}
	to := f.get("redirect_uri")
	if !isLoopback(to) {
		return refuse(InvalidRequest, "redirect_uri must be http://127.0.0.1:PORT/callback or http://[::1]:PORT/callback")
	}
	a := authorization{Redirect: to, State: f.get("state"), Challenge: f.get("code_challenge"), Key: f.get("dpop_jkt")}
	if err := s.checkAuthorization(f, a); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return err
		}
		s.refused.add(r, e)
		s.goBack(w, a, url.Values{"error": {string(e.Code)}, "error_description": {e.Description}})
		return nil
	}
	kept, err := json.Marshal(a)
	if err != nil {
		return err
	}
	s.c.Login(w, r, f.get("idp"), kept)
	return nil
}

func (s *Server) checkAuthorization(f form, a authorization) error {
	switch mode := f.get("response_mode"); {
	case f.get("response_type") != "code":
		return refuse(UnsupportedResponseType, "response_type must be code")
	case mode != "" && mode != "query":
		return refuse(InvalidRequest, "response_mode must be query")
	case f.has("request") || f.has("request_uri"):
		return refuse(InvalidRequest, "no request object is taken here")
	case f.get("code_challenge_method") != "S256" || !isHash(a.Challenge):
		return refuse(InvalidRequest, "code_challenge must be there, of code_challenge_method S256")
	case a.Key != "" && !isHash(a.Key):
		return refuse(InvalidRequest, "dpop_jkt must be a SHA-256 thumbprint in base64url")
	case f.has("scope"):
		return refuse(InvalidScope, "rights are asked for by authorization_details, not by scope")
	case f.has("resource") && f.get("resource") != s.c.Issuer:
		return refuse(InvalidTarget, "a login is to this server: exchange it for tokens for apps")
	case f.has("authorization_details"):
		if _, err := s.parseDetails(f.get("authorization_details")); err != nil {
			return err
		}
		return refuse(InvalidAuthorizationDetails, "authorization_details: a login has none: exchange it for tokens that do")
	case s.c.Login == nil:
		return refuse(TemporarilyUnavailable, "nobody logs in here")
	}
	return nil
}

// goBack sends the browser back to the command, which is told who answers (RFC 9207).
func (s *Server) goBack(w http.ResponseWriter, a authorization, q url.Values) {
	if a.State != "" {
		q.Set("state", a.State)
	}
	q.Set("iss", s.c.Issuer)
	w.Header().Set("Location", a.Redirect+"?"+q.Encode())
	w.WriteHeader(http.StatusSeeOther) // RFC 9700 §4.12
}

// Asks says where the code of a login that Config.Login began would go, and by which
// text its person knows the command that began it.
func (s *Server) Asks(kept []byte) (api.CommandLogin, error) {
	a, err := readAuthorization(kept)
	if err != nil {
		return api.CommandLogin{}, err
	}
	u, err := url.Parse(a.Redirect)
	if err != nil {
		return api.CommandLogin{}, err
	}
	return api.CommandLogin{Address: u.Host, Code: api.LoginCode(a.State, a.Challenge, a.Key)}, nil
}

// LoggedIn sends the browser of a login that Config.Login began back to the command,
// with a code for it. The person has said yes to what Asks tells: whoever listens at a
// loopback address need not be theirs (RFC 8252 §8.6).
func (s *Server) LoggedIn(w http.ResponseWriter, r *http.Request, kept []byte, l access.Login) {
	a, err := readAuthorization(kept)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	code := random()
	body, err := json.Marshal(codeBody{Authorization: a, Login: l})
	if err == nil {
		err = s.service.PutCode(r.Context(), code, body)
	}
	if err != nil {
		s.c.Log.ErrorContext(r.Context(), "no code given", "cause", causeOf(err))
		s.goBack(w, a, url.Values{"error": {string(ServerError)}, "error_description": {"the login could not be kept"}})
		return
	}
	s.goBack(w, a, url.Values{"code": {code}})
}

// LoginFailed sends the browser of a login that Config.Login began back to the
// command, with the reason why there is no code.
func (s *Server) LoginFailed(w http.ResponseWriter, r *http.Request, kept []byte, p *api.Problem) {
	a, err := readAuthorization(kept)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	code := AccessDenied
	switch {
	case p.Status == http.StatusBadRequest:
		code = InvalidRequest
	case p.Status == http.StatusTooManyRequests || p.Status >= http.StatusInternalServerError:
		code = TemporarilyUnavailable
	}
	text := p.Detail
	if len(p.Allowed) > 0 {
		text += ": choose one of " + strings.Join(p.Allowed, ", ")
	}
	s.goBack(w, a, url.Values{"error": {string(code)}, "error_description": {described(text)}})
}

// described puts a sentence into the characters of an error_description (RFC 6749
// §4.1.2.1).
func described(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, text)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := errorOf(err)
	if s.c.Show != nil {
		s.c.Show(w, r, e)
		return
	}
	e.write(w)
}

func readAuthorization(kept []byte) (authorization, error) {
	var a authorization
	if err := json.Unmarshal(kept, &a); err != nil {
		return authorization{}, err
	}
	if !isLoopback(a.Redirect) || !isHash(a.Challenge) {
		return authorization{}, errors.New("what was kept of a login is not an authorization request")
	}
	return a, nil
}

// isHash reports whether text is a SHA-256 in base64url, in its one spelling.
func isHash(text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == 32 && !strings.ContainsAny(text, "\r\n")
}
