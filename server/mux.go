package server

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/api"
)

// handler answers a request or says why not; nothing is written then.
type handler func(w http.ResponseWriter, r *http.Request) error

// mux is the routes of one door.
type mux struct {
	log      *slog.Logger
	pages    Pages // draws problems for browsers; nil: they are documents there too
	next     *http.ServeMux
	patterns []string
}

func newMux(log *slog.Logger, pages Pages) *mux {
	return &mux{log: log, pages: pages, next: http.NewServeMux()}
}

func (m *mux) handle(pattern string, h handler) {
	m.patterns = append(m.patterns, pattern)
	m.next.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			m.refuse(w, r, err)
		}
	})
}

// refuse writes the problem of err, and notes it.
func (m *mux) refuse(w http.ResponseWriter, r *http.Request, err error) {
	m.note(r, err)
	m.say(w, r, problemOf(err))
}

// note logs what is ours to mend, with its cause.
func (m *mux) note(r *http.Request, err error) {
	if p := problemOf(err); p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		m.log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "code", p.Code, "cause", causeOf(err))
	}
}

// say answers with a problem: a page where people go with a browser, a document
// where programs go.
func (m *mux) say(w http.ResponseWriter, r *http.Request, p *api.Problem) {
	if m.pages == nil || !forBrowsers(r.URL.Path) {
		writeProblem(w, p)
		return
	}
	retryLater(w.Header(), p.Status)
	m.pages.Problem(w, r, p)
}

// forBrowsers reports whether people come to a path with a browser.
func forBrowsers(path string) bool {
	switch path {
	case "/login", confirmPath, "/logout", "/oauth/authorize":
		return true
	}
	return strings.HasPrefix(path, "/oidc/") && strings.HasSuffix(path, "/callback") || !Owns(path)
}

// causeOf returns the innermost private cause, which stands in no answer.
func causeOf(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// handler returns the whole door: headers, log, panics, and the mux within.
func (m *mux) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		began := time.Now()
		out := &answer{ResponseWriter: w}
		defer func() {
			fault := recover()
			if fault != nil && fault != http.ErrAbortHandler {
				m.log.ErrorContext(r.Context(), "panic", "route", r.Pattern, "value", fault, "stack", string(debug.Stack()))
				if out.status == 0 {
					m.say(out, r, problemOf(errors.New("panic")))
					fault = nil
				}
			}
			m.log.InfoContext(r.Context(), "request", "method", r.Method, "route", r.Pattern, "status", out.status,
				"bytes", out.bytes, "took", time.Since(began))
			if fault != nil {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
		}()
		m.serve(out, r)
	})
}

// serve answers what no route takes with a problem too.
func (m *mux) serve(w *answer, r *http.Request) {
	if _, pattern := m.next.Handler(r); pattern != "" {
		m.next.ServeHTTP(w, r)
		return
	}
	// The mux knows whether another method would do.
	probe := &answer{ResponseWriter: discard{h: http.Header{}}}
	m.next.ServeHTTP(probe, r)
	if allow := probe.Header().Get("Allow"); probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		m.say(w, r, wrongMethod(r.Method, allow))
		return
	}
	m.say(w, r, noRoute())
}

// secure sets what every answer carries: nothing is cached, framed, sniffed or
// run.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// answer counts what was answered.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// discard is an answer that nobody reads.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
