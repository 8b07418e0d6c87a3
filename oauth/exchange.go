package oauth

import (
	"crypto/subtle"
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/tokens"
)

// exchanged is the tokens of an exchange, read before any is verified.
type exchanged struct {
	subject, subjectType string
	actor                string // a JWT-SVID; "" for none
	issuedType           string
}

func readExchanged(f form) (out exchanged, err error) {
	if out.subject, err = f.need("subject_token"); err != nil {
		return exchanged{}, err
	}
	if out.subjectType, err = f.need("subject_token_type"); err != nil {
		return exchanged{}, err
	}
	switch out.subjectType {
	case typeAccess, typeJWT, typeID:
	default:
		return exchanged{}, refuse(InvalidRequest, "tokens of this subject_token_type are not exchanged")
	}
	if f.has("actor_token") != f.has("actor_token_type") {
		return exchanged{}, refuse(InvalidRequest, "actor_token and actor_token_type belong together")
	}
	if out.actor = f.get("actor_token"); out.actor != "" && f.get("actor_token_type") != typeJWT {
		return exchanged{}, refuse(InvalidRequest, "an actor is proven by a JWT-SVID, of actor_token_type "+typeJWT)
	}
	switch out.issuedType = f.get("requested_token_type"); out.issuedType {
	case "":
		out.issuedType = typeAccess
	case typeAccess, typeJWT:
	default:
		return exchanged{}, refuse(InvalidRequest, "tokens of this requested_token_type are not issued")
	}
	return out, nil
}

// exchange trades what proves a subject for a token of ours (RFC 8693). Whoever
// sends it either is the subject or acts for it, and then stands in the token: nobody
// becomes somebody else.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, d door, f form) error {
	want, err := s.wanted(f)
	if err != nil {
		return err
	}
	in, err := readExchanged(f)
	if err != nil {
		return err
	}
	c, err := s.client(w, r, d, f, "")
	if err != nil {
		return err
	}
	ask, err := s.subject(r, d, c, in)
	if err != nil {
		return err
	}
	if c.principal.IsZero() {
		note(r, ask.Subject)
	}
	shown := Workload{Principal: ask.Subject, Ends: ask.Until}
	if err := s.act(r, c, in, &ask); err != nil {
		return err
	}
	if in.subjectType == typeJWT {
		if err := s.hold(r, in.subject, shown, c, InvalidRequest); err != nil {
			return err
		}
	}
	ask.Confirm = c.confirm
	return s.issue(w, r, want, ask, in.issuedType)
}

func badSubject(why string) *Error { return refuse(InvalidRequest, "subject_token: "+why) } // RFC 8693 §2.2.2

// subject says whose access the token will be for.
func (s *Server) subject(r *http.Request, d door, c client, in exchanged) (access.TokenAsk, error) {
	switch {
	case in.subjectType == typeJWT:
		return s.workloadSubject(r, in)
	case in.subjectType == typeID:
		return s.personSubject(r, c, in)
	case tokens.IsToken(in.subject):
		return s.onwardSubject(c, in)
	default:
		return s.sessionSubject(r, d, c, in)
	}
}

func (s *Server) workloadSubject(r *http.Request, in exchanged) (access.TokenAsk, error) {
	w, err := s.jwtSVID(r, in.subject)
	if err != nil {
		return access.TokenAsk{}, badSubject("it is no JWT-SVID that proves a workload to this issuer").because(err)
	}
	return access.TokenAsk{Subject: w.Principal, Proof: access.ProofJWTSVID, ClientID: w.Principal.String(), Until: w.Ends}, nil
}

func (s *Server) personSubject(r *http.Request, c client, in exchanged) (access.TokenAsk, error) {
	if s.c.IDToken == nil {
		return access.TokenAsk{}, badSubject("no ID token is accepted here")
	}
	id, err := s.c.IDToken(r.Context(), in.subject)
	if err != nil {
		return access.TokenAsk{}, badSubject("it is no ID token that an identity provider issued to us minutes ago").because(err)
	}
	out := access.TokenAsk{
		Subject: id.Principal, Proof: access.ProofIDToken, ClientID: CommandClient, Until: id.Ends, AuthTime: id.AuthTime, ACR: id.ACR,
		Once: "id_token:" + thumbprint(id.Digest), OnceEnds: id.Ends,
	}
	if !c.principal.IsZero() {
		out.ClientID = c.principal.String()
	}
	return out, nil
}

// sessionSubject takes the command's session, with the key that it is bound to.
func (s *Server) sessionSubject(r *http.Request, d door, c client, in exchanged) (access.TokenAsk, error) {
	bad := badSubject("it is no session that lives and belongs to the key of the proof")
	if d.mutual || in.actor != "" || !c.principal.IsZero() {
		return access.TokenAsk{}, bad
	}
	got, err := s.session(r, in.subject, c)
	if err != nil {
		return access.TokenAsk{}, err
	}
	if got == nil {
		return access.TokenAsk{}, bad
	}
	return access.TokenAsk{
		Subject: got.Principal, Proof: access.ProofSession, Session: got.ID, ClientID: CommandClient, AuthTime: got.AuthTime, ACR: got.ACR,
	}, nil
}

// session returns the live session of a secret that is bound to the key of c; nil if
// there is none.
func (s *Server) session(r *http.Request, secret string, c client) (*access.Session, error) {
	got, err := s.service.Session(r.Context(), access.SessionAPI, access.ParseSessionSecret(secret))
	switch {
	case access.CodeOf(err) == access.CodeNoSession:
		return nil, nil
	case err != nil:
		return nil, err
	case c.confirm.JKT == [32]byte{} || subtle.ConstantTimeCompare(c.confirm.JKT[:], got.ProofKey[:]) != 1:
		return nil, nil
	}
	return &got, nil
}

// onwardSubject takes a token of ours from a workload; package access knows whether
// it is the app that the token names.
func (s *Server) onwardSubject(c client, in exchanged) (access.TokenAsk, error) {
	if c.principal.IsZero() {
		return access.TokenAsk{}, badSubject("only the app that a token names exchanges it, and proves itself by its SVID")
	}
	claims, err := s.verify(in.subject)
	if err != nil {
		return access.TokenAsk{}, badSubject("it is no token of ours that lives").because(err)
	}
	return access.TokenAsk{
		Subject: claims.Subject, Proof: access.ProofToken, Token: claims, Actor: c.principal, ClientID: c.principal.String(),
		Until: claims.Expires, AuthTime: claims.AuthTime, ACR: claims.ACR, AMR: claims.AMR,
	}, nil
}

// act names in ask who acts for its subject, and refuses whoever would become it.
func (s *Server) act(r *http.Request, c client, in exchanged, ask *access.TokenAsk) error {
	ask.Until = sooner(ask.Until, c.ends)
	if in.actor == "" {
		if !c.principal.IsZero() && c.principal != ask.Subject && ask.Actor.IsZero() {
			return refuse(InvalidRequest, "nobody becomes somebody else: whoever acts for the subject says so by an actor_token")
		}
		return nil
	}
	actor, err := s.jwtSVID(r, in.actor)
	if err != nil {
		return refuse(InvalidRequest, "actor_token: it is no JWT-SVID that proves a workload to this issuer").because(err)
	}
	if !c.principal.IsZero() && actor.Principal != c.principal || !ask.Actor.IsZero() && actor.Principal != ask.Actor || actor.Principal == ask.Subject {
		return refuse(InvalidRequest, "actor_token: it proves somebody else than whoever sent this, or the subject itself")
	}
	ask.Actor, ask.Until = actor.Principal, sooner(ask.Until, actor.Ends)
	return s.hold(r, in.actor, actor, c, InvalidRequest)
}

// sooner returns the sooner of two times, of which a zero one is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
