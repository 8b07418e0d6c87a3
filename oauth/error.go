package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// Code is an error code of OAuth, as the RFC that defines it spells it.
type Code string

// The codes: of RFC 6749 §4.1.2.1 and §5.2, and of the extensions named beside them.
const (
	InvalidRequest              Code = "invalid_request"
	InvalidClient               Code = "invalid_client"
	InvalidGrant                Code = "invalid_grant"
	UnauthorizedClient          Code = "unauthorized_client"
	UnsupportedGrantType        Code = "unsupported_grant_type"
	UnsupportedResponseType     Code = "unsupported_response_type"
	AccessDenied                Code = "access_denied"
	ServerError                 Code = "server_error"
	TemporarilyUnavailable      Code = "temporarily_unavailable"
	InvalidTarget               Code = "invalid_target"                // RFC 8707 §2
	InvalidAuthorizationDetails Code = "invalid_authorization_details" // RFC 9396 §5
	InvalidDPoPProof            Code = "invalid_dpop_proof"            // RFC 9449 §5
	UseDPoPNonce                Code = "use_dpop_nonce"                // RFC 9449 §8
	InvalidToken                Code = "invalid_token"                 // RFC 6750 §3.1
	InvalidScope                Code = "invalid_scope"
)

// Error is a refusal as a client sees it (RFC 6749 §5.2). The private cause is
// reached only by errors.Unwrap.
type Error struct {
	Code        Code
	Description string // for developers: which rule, never a value that came in
	Status      int    // HTTP; 0: 400
	RetryAfter  time.Duration
	cause       error
}

// Error returns the code and the description, never the cause.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Description }

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.cause }

func refuse(c Code, description string) *Error { return &Error{Code: c, Description: description} }

// because returns a copy of e with a private cause, for the log.
func (e *Error) because(err error) *Error {
	out := *e
	out.cause = err
	return &out
}

func (e *Error) with(status int) *Error {
	out := *e
	out.Status = status
	return &out
}

// errorOf turns any error into one of OAuth's. Faults of access whose code stands
// for a rule keep their sentence; anything else is a server error without one.
func errorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var f *access.Fault
	if !errors.As(err, &f) {
		return refuse(ServerError, "the request could not be carried out").with(http.StatusInternalServerError).because(err)
	}
	switch f.Code {
	case access.CodeInvalidTarget, access.CodeNoGrant:
		return refuse(InvalidTarget, f.Sentence).because(err)
	case access.CodeInvalidDetails:
		return refuse(InvalidAuthorizationDetails, f.Sentence).because(err)
	case access.CodeNoSession, access.CodeLocked, access.CodeNotEligible, access.CodeEnded, access.CodeInvalid, access.CodeNotAPerson:
		return refuse(InvalidRequest, f.Sentence).because(err) // RFC 8693 §2.2.2: a token that is not acceptable
	case access.CodeNoPolicy:
		return refuse(TemporarilyUnavailable, f.Sentence).with(http.StatusServiceUnavailable).because(err)
	default:
		return refuse(ServerError, "the request could not be carried out").with(http.StatusInternalServerError).because(err)
	}
}

// status is the HTTP status of e.
func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Code == InvalidClient || e.Code == InvalidToken:
		return http.StatusUnauthorized
	default:
		return http.StatusBadRequest
	}
}

// write answers with e.
func (e *Error) write(w http.ResponseWriter) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if e.status() == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", challenge) // RFC 9110 §15.5.2
	}
	writeJSON(w, e.status(), struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, plain(e.Description)})
}

// challenge is how clients prove themselves in headers (RFC 6749 §5.2, RFC 9449 §7.1).
const challenge = `DPoP algs="ES256 RS256"`

// plain keeps a description to the characters of RFC 6749 §5.2.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c < ' ' || c == '\\' || c > '~':
			return '?'
		}
		return c
	}, strings.ReplaceAll(text, "…", "..."))
}

// writeJSON answers with v. What it writes is our own and always marshals.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
