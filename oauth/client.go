package oauth

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
)

// CommandClient is the one public client: the command mayfly. Workloads are clients
// by their SPIFFE ID, without being registered.
const CommandClient = "mayfly-cli"

// assertionSPIFFE is the type of a client assertion that is a JWT-SVID
// (draft-ietf-oauth-spiffe-client-auth).
const assertionSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"

// client is whoever sends a request, as the door proved it.
type client struct {
	principal identity.Principal  // the workload that it is; zero: nobody proved to be one
	byJWT     bool                // principal is proven by a JWT-SVID
	confirm   tokens.Confirmation // the certificate or key in its hands
	ends      time.Time           // of what proves it; zero: it does not
}

// client proves whoever sent r: at the workloads door by the certificate, at the
// public one by a proof of a key (RFC 9449), with or without a client assertion.
// bound is the access token that the proof must be bound to, "" for none.
func (s *Server) client(w http.ResponseWriter, r *http.Request, d door, f form, bound string) (client, error) {
	if f.has("client_secret") {
		return client{}, refuse(InvalidClient, "no client has a secret here")
	}
	if bound == "" && len(r.Header.Values("Authorization")) > 0 {
		w.Header().Set("WWW-Authenticate", challenge)
		return client{}, refuse(InvalidClient, "no client authenticates by Authorization here")
	}
	var c client
	var err error
	if d.mutual {
		c, err = s.byCertificate(r, f)
	} else {
		c, err = s.byKey(w, r, d, f, bound)
	}
	if err != nil {
		return client{}, err
	}
	note(r, c.principal)
	if id := f.get("client_id"); !c.principal.IsZero() && id != "" && id != c.principal.String() || c.principal.IsZero() && id != "" && id != CommandClient {
		return client{}, refuse(InvalidClient, "client_id is not that of whoever sent this")
	}
	if !c.principal.IsZero() {
		err = take(s.callers, c.principal.String())
	}
	return c, err
}

// byCertificate proves a workload by the certificate of the connection, looked at
// again for each request: a connection outlives its certificate.
func (s *Server) byCertificate(r *http.Request, f form) (client, error) {
	if f.has("client_assertion") || len(r.Header.Values("DPoP")) > 0 {
		return client{}, refuse(InvalidRequest, "this door proves its callers by their certificate, and by nothing beside it")
	}
	if r.TLS == nil {
		return client{}, refuse(InvalidClient, "this door wants a certificate")
	}
	peer, err := s.c.Peers.PeerFromState(*r.TLS, s.c.Now())
	if err != nil {
		return client{}, refuse(InvalidClient, "the certificate does not prove a workload: "+string(spiffe.ReasonOf(err))).because(err)
	}
	return client{principal: peer.Principal, confirm: tokens.Confirmation{X5T: peer.SHA256}, ends: peer.NotAfter}, nil
}

func (s *Server) byKey(w http.ResponseWriter, r *http.Request, d door, f form, bound string) (client, error) {
	w.Header().Set("DPoP-Nonce", s.c.Nonce(s.c.Now()))
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 || len(proofs[0]) > maxToken {
		return client{}, refuse(InvalidDPoPProof, "this door wants one proof of a key, in the header DPoP")
	}
	if f.has("client_assertion") != f.has("client_assertion_type") || f.has("client_assertion") && f.get("client_assertion_type") != assertionSPIFFE {
		return client{}, refuse(InvalidClient, "a client assertion is a JWT-SVID, of type "+assertionSPIFFE)
	}
	key, err := s.c.Proofs.Verify(proofs[0], tokens.Presented{Method: r.Method, URL: d.url + r.URL.EscapedPath(), Token: bound}, s.c.Now())
	if errors.Is(err, tokens.ErrUseNonce) {
		return client{}, refuse(UseDPoPNonce, "the proof must carry the nonce of the header DPoP-Nonce")
	}
	if err != nil {
		return client{}, refuse(InvalidDPoPProof, "the proof is not one for this request, of now").because(err)
	}
	c := client{confirm: tokens.Confirmation{JKT: key}}
	if !f.has("client_assertion") {
		return c, nil
	}
	workload, err := s.jwtSVID(r, f.get("client_assertion"))
	if err != nil {
		return client{}, refuse(InvalidClient, "the client assertion is no JWT-SVID for this issuer").because(err)
	}
	if err := s.hold(r, f.get("client_assertion"), workload, c, InvalidClient); err != nil {
		return client{}, err
	}
	c.principal, c.byJWT, c.ends = workload.Principal, true, workload.Ends
	return c, nil
}

// jwtSVID says who a JWT-SVID proves to us: our issuer is its one audience.
func (s *Server) jwtSVID(r *http.Request, token string) (Workload, error) {
	if s.c.JWTSVID == nil || strings.Count(token, ".") != 2 {
		return Workload{}, errors.New("no JWT-SVID")
	}
	return s.c.JWTSVID(r.Context(), token, s.c.Issuer, s.c.Now())
}

// hold has nobody but by show the JWT-SVID of w from now on, or refuses by with code.
// Whoever proves the same by a certificate needs none; a workload that a certificate
// proves is the same with its next one.
func (s *Server) hold(r *http.Request, token string, w Workload, by client, code Code) error {
	presenter := by.confirm.JKT
	if presenter == [32]byte{} {
		if by.principal == w.Principal {
			return nil
		}
		presenter = sha256.Sum256([]byte(by.principal.String()))
	}
	switch s.holders.take(token, presenter, w.Ends, s.c.Now()) {
	case held:
		return nil
	case noRoom:
		return refuse(TemporarilyUnavailable, "more JWT-SVIDs are in use than are remembered").with(http.StatusServiceUnavailable)
	default:
		note(r, w.Principal) // whose it is: that it was stolen is for the record
		return refuse(code, "the JWT-SVID belongs to the key that has shown it before")
	}
}
