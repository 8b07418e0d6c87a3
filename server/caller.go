package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
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

// person proves the caller by the session in Authorization together with a proof of
// its key (RFC 9449 §7), and by nothing else: the text of a session is worth nothing
// to whoever copied it.
func (s *Server) person(f action) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		secret, err := boundSecret(r)
		if err != nil {
			return err
		}
		session, err := s.service.Session(r.Context(), access.SessionAPI, access.ParseSessionSecret(secret))
		if err != nil {
			return err
		}
		if err := s.proven(w, r, secret, session); err != nil {
			return err
		}
		return f(w, r, caller{Caller: access.CallerOf(session), session: session})
	}
}

// boundSecret returns the one secret of a request that is bound to a key.
func boundSecret(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", notLoggedIn("this door wants a session")
	}
	scheme, secret, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "DPoP") || secret == "" || len(secret) > maxSecret {
		return "", notLoggedIn("Authorization must be one session with the scheme DPoP: its secret alone proves nothing")
	}
	return secret, nil
}

// proven holds a request to the key of its session.
func (s *Server) proven(w http.ResponseWriter, r *http.Request, secret string, session access.Session) error {
	if s.c.Nonce != nil {
		w.Header().Set("DPoP-Nonce", s.c.Nonce(s.c.Now()))
	}
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return notLoggedIn("this door wants one proof of the session's key, in the header DPoP")
	}
	_, err := s.c.Proofs.Verify(proofs[0], tokens.Presented{Method: r.Method, URL: s.origin + r.URL.EscapedPath(), Token: secret, Key: &session.ProofKey}, s.c.Now())
	switch {
	case errors.Is(err, tokens.ErrUseNonce):
		p := problem(http.StatusUnauthorized, codeUseNonce, "Prove it with our nonce", "the proof must carry the nonce of the header DPoP-Nonce")
		return p
	case err != nil || session.ProofKey == [32]byte{}:
		return notLoggedIn("the proof is not one of the session's key, for this request, of now")
	}
	return nil
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
