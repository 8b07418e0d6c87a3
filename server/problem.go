package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// Codes of problems that arise before any verb runs. Those of verbs are access's.
const (
	codeBadJSON     = "bad_json"
	codeTooLarge    = "too_large"
	codeContentType = "content_type"
	codeBadQuery    = "bad_query"
	codeMethod      = "method"
	codeNoRoute     = "no_route"
	codeWrongProof  = "wrong_proof"
	codeNoIdentity  = "no_identity"
	codeRateLimited = "rate_limited"
	codeBadLogin    = "bad_login"
	codeProvider    = "provider_unavailable"
	codeBusy        = "busy"
	codeTimeout     = "timeout"
	codeCrossSite   = "cross_site"
	codeUseNonce    = "use_dpop_nonce"
	codeNotSigned   = "not_signed"
)

const typePrefix = "urn:mayfly:problem:"

// problemOf turns any error into what the caller is told: a problem as it is, a
// Fault by the table of access, everything else internal and without its words.
func problemOf(err error) *api.Problem {
	var p *api.Problem
	if errors.As(err, &p) {
		return p
	}
	f := access.FaultOf(err)
	if f.Code == access.CodeInternal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return problem(http.StatusServiceUnavailable, codeTimeout, "It took too long", "the answer was not ready in time; nothing is known to have changed")
	}
	info := f.Info()
	p = problem(info.HTTP, string(f.Code), info.Title, f.Sentence)
	p.Next = f.Next
	return p
}

// problem returns a problem document; detail is a sentence for whoever called.
func problem(status int, code, title, detail string) *api.Problem {
	return &api.Problem{Type: typePrefix + code, Title: title, Status: status, Detail: detail, Code: code}
}

func invalid(detail string, allowed ...string) *api.Problem {
	p := problem(http.StatusBadRequest, codeBadQuery, "The query cannot be understood", detail)
	p.Allowed = allowed
	return p
}

func noRoute() *api.Problem {
	return problem(http.StatusNotFound, codeNoRoute, "Not found", "there is nothing at this address")
}

func wrongMethod(method, allow string) *api.Problem {
	p := problem(http.StatusMethodNotAllowed, codeMethod, "Not with this method", "this address does not take "+clip(method))
	p.Allowed = strings.Split(allow, ", ")
	return p
}

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	h := w.Header()
	if p.Status == http.StatusUnauthorized {
		challenge := `DPoP algs="ES256 RS256"`
		if p.Code == codeUseNonce {
			challenge = `DPoP error="use_dpop_nonce", algs="ES256 RS256"` // RFC 9449 §9
		}
		h.Set("WWW-Authenticate", challenge)
	}
	retryLater(h, p.Status)
	write(w, p.Status, "application/problem+json", p)
}

func retryLater(h http.Header, status int) {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	write(w, status, "application/json", v)
	return nil
}

// write sends v. Every v is a type of api, which always marshals; a caller who
// is gone is nobody to tell.
func write(w http.ResponseWriter, status int, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// clip shortens text of the caller's that is shown back.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
