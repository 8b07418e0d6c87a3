package oauth

import (
	"net/http"
	"net/url"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// The types of token of RFC 8693 §3 that we take or give.
const (
	typeAccess = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"
	typeID     = "urn:ietf:params:oauth:token-type:id_token"
)

// token answers the token endpoint (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request, d door) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	kind, err := f.need("grant_type")
	if err != nil {
		return err
	}
	if f.has("scope") {
		return refuse(InvalidScope, "rights are asked for by authorization_details, not by scope")
	}
	switch kind {
	case grantCode:
		return s.redeem(w, r, d, f)
	case grantExchange:
		return s.exchange(w, r, d, f)
	case grantCredentials:
		return s.credentials(w, r, d, f)
	default:
		return refuse(UnsupportedGrantType, "the grant type is not one of grant_types_supported")
	}
}

// wanted is what a token is asked for, read before anything is verified.
type wanted struct {
	resource string
	detail   *access.DetailAsk
}

func (s *Server) wanted(f form) (wanted, error) {
	out := wanted{resource: f.get("resource")}
	if f.has("audience") || out.resource == "" {
		return wanted{}, refuse(InvalidTarget, "name the one app that the token is for as resource")
	}
	u, err := url.Parse(out.resource)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		return wanted{}, refuse(InvalidTarget, "the resource is no absolute https URI without query and fragment")
	}
	out.detail, err = s.parseDetails(f.get("authorization_details"))
	return out, err
}

// credentials gives a workload a token for its own grant: its certificate, or its
// JWT-SVID as client assertion, is all that it has to show (RFC 6749 §4.4).
func (s *Server) credentials(w http.ResponseWriter, r *http.Request, d door, f form) error {
	want, err := s.wanted(f)
	if err != nil {
		return err
	}
	c, err := s.client(w, r, d, f, "")
	if err != nil {
		return err
	}
	if c.principal.IsZero() {
		return refuse(InvalidClient, "only a workload has credentials: its certificate at the workloads door, or a client assertion")
	}
	ask := access.TokenAsk{Subject: c.principal, Proof: access.ProofSVID, ClientID: c.principal.String(), Confirm: c.confirm, Until: c.ends}
	if c.byJWT {
		ask.Proof = access.ProofJWTSVID
	}
	return s.issue(w, r, want, ask, "")
}

// issue answers with a token, or says why there is none. issuedType is that of RFC
// 8693 §2.2.1, "" for other grants.
func (s *Server) issue(w http.ResponseWriter, r *http.Request, want wanted, ask access.TokenAsk, issuedType string) error {
	ask.Resource, ask.Detail = want.resource, want.detail
	made, err := s.service.IssueToken(r.Context(), ask)
	if err != nil {
		return err
	}
	answer := struct {
		AccessToken string    `json:"access_token"`
		IssuedType  string    `json:"issued_token_type,omitempty"`
		TokenType   string    `json:"token_type"`
		ExpiresIn   int64     `json:"expires_in"`
		Details     []granted `json:"authorization_details"`
	}{made.Text, issuedType, "DPoP", int64(made.Claims.Expires.Sub(made.Claims.IssuedAt) / time.Second), grantedOf(made.Claims)}
	if ask.Confirm.X5T != [32]byte{} {
		answer.TokenType = "Bearer" // bound all the same, by the connection (RFC 8705 §3)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
