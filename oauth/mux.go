package oauth

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/limit"
)

// The paths of the endpoints.
const (
	pathAuthorize  = "/oauth/authorize"
	pathToken      = "/oauth/token"
	pathRevoke     = "/oauth/revoke"
	pathIntrospect = "/oauth/introspect"
	pathJWKS       = "/oauth/jwks"
	pathSchemas    = "/oauth/schemas/"
	pathMetadata   = "/.well-known/oauth-authorization-server" // RFC 8414 §3
	pathOpenID     = "/.well-known/openid-configuration"
)

// Owns reports whether a path of a door is this package's.
func Owns(path string) bool {
	return strings.HasPrefix(path, "/oauth/") || path == pathMetadata || path == pathOpenID
}

// door is where a request came in.
type door struct {
	url    string // its address, as clients know it
	mutual bool   // TLS with an SVID, which proves the caller
}

// handler answers a request or says why not; nothing is written then.
type handler func(w http.ResponseWriter, r *http.Request, d door) error

// Public returns the handler of the paths that are Owned at the public door.
func (s *Server) Public() http.Handler {
	d := door{url: s.c.Issuer}
	m := s.endpoints(d)
	m.HandleFunc("GET "+pathMetadata, s.answer(d, s.metadata))
	m.HandleFunc("GET "+pathOpenID, s.answer(d, s.openID))
	m.HandleFunc("GET "+pathJWKS, s.answer(d, s.jwks))
	m.HandleFunc("GET "+pathSchemas+"{file}", s.answer(d, s.schema))
	m.HandleFunc("GET "+pathAuthorize, s.answer(d, s.authorize))
	return s.guard(m)
}

// Workloads returns the handler of the paths that are Owned at the workloads door:
// TLS that demands an SVID (spiffe.ServerTLS). Its endpoints are the aliases of RFC
// 8705 §5.
func (s *Server) Workloads() http.Handler {
	return s.guard(s.endpoints(door{url: s.c.MTLS, mutual: true}))
}

func (s *Server) endpoints(d door) *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("POST "+pathToken, s.answer(d, s.token))
	m.HandleFunc("POST "+pathRevoke, s.answer(d, s.revoke))
	m.HandleFunc("POST "+pathIntrospect, s.answer(d, s.introspect))
	return m
}

// answer calls h within the limit of the caller's address, and writes and counts its
// refusal.
func (s *Server) answer(d door, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r = withNote(r)
		err := take(s.addresses, limit.Peer(r))
		if err == nil {
			err = h(w, r, d)
		}
		if err == nil {
			return
		}
		e := errorOf(err)
		if e.status() >= http.StatusInternalServerError && r.Context().Err() == nil {
			s.c.Log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "cause", causeOf(e))
		}
		s.refused.add(r, e)
		if r.URL.Path == pathAuthorize && s.c.Show != nil {
			s.c.Show(w, r, e)
			return
		}
		e.write(w)
	}
}

// causeOf returns the innermost private cause, which stands in no answer.
func causeOf(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// guard is the whole of a door: headers, log, panics.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		began := time.Now()
		out := &counted{ResponseWriter: w}
		defer func() {
			if fault := recover(); fault != nil {
				s.c.Log.ErrorContext(r.Context(), "panic", "route", r.Pattern, "value", fault, "stack", string(debug.Stack()))
				if out.status != 0 {
					panic(http.ErrAbortHandler) // half an answer must not look whole
				}
				errorOf(errors.New("panic")).write(out)
			}
			s.c.Log.InfoContext(r.Context(), "request", "method", r.Method, "route", r.Pattern, "status", out.status, "took", time.Since(began))
		}()
		next.ServeHTTP(out, r)
	})
}

// secure sets what every answer carries: nothing is cached (RFC 6749 §5.1), framed,
// sniffed or run.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// counted notes with what was answered.
type counted struct {
	http.ResponseWriter
	status int
}

func (c *counted) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(b)
}
