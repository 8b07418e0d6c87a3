package server

import (
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// caller is who speaks, as this door proved it.
type caller struct {
	access.Caller
	session access.Session // zero on the workloads door
}

// action is a handler that knows who calls.
type action func(w http.ResponseWriter, r *http.Request, c caller) error

// maxSecret bounds the text that is looked up as a session, in bytes.
const maxSecret = 128

// person proves the caller by the session in Authorization, and by nothing else.
func (s *Server) person(f action) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		secret, err := bearer(r)
		if err != nil {
			return err
		}
		session, err := s.service.Session(r.Context(), access.SessionAPI, access.ParseSessionSecret(secret))
		if err != nil {
			return err
		}
		return f(w, r, caller{Caller: access.CallerOf(session), session: session})
	}
}

// bearer returns the one bearer secret of a request (RFC 6750 §2.1).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", notLoggedIn("this door wants a session")
	}
	scheme, secret, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > maxSecret {
		return "", notLoggedIn("Authorization must be one bearer session")
	}
	return secret, nil
}

func notLoggedIn(why string) error {
	p := problem(http.StatusUnauthorized, string(access.CodeNoSession), access.CodeNoSession.Info().Title, why)
	p.Next = "mayfly login"
	return p
}

// workload proves the caller by the certificate of the connection, looked at
// again for each request: a connection outlives its certificate.
func (s *Server) workload(f action) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get("Authorization") != "" {
			return problem(http.StatusBadRequest, codeWrongProof, "Not at this door", "workloads speak here with their certificate; a session belongs to the public door")
		}
		if r.TLS == nil {
			return problem(http.StatusUnauthorized, codeNoIdentity, "No identity", "this door wants a certificate")
		}
		peer, err := s.c.Peers.PeerFromState(*r.TLS, s.c.Now())
		if err != nil {
			return problem(http.StatusUnauthorized, codeNoIdentity, "No identity", "the certificate does not prove a workload: "+string(spiffe.ReasonOf(err)))
		}
		s.service.SawWorkload(r.Context(), peer.Principal)
		return f(w, r, caller{Caller: access.Caller{Principal: peer.Principal}})
	}
}
