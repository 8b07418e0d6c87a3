package proxy

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// The schemes of Authorization under which a token comes (RFC 6750, RFC 9449).
const (
	schemeBearer = "bearer"
	schemeDPoP   = "dpop"
)

// authorization is what a request says in its one Authorization header: a scheme in
// lower case, and what follows it.
func authorization(h http.Header) (scheme, text string) {
	scheme, text, _ = strings.Cut(h.Get("Authorization"), " ")
	return strings.ToLower(scheme), strings.TrimLeft(text, " ")
}

// unproven is what a token says of itself. It proves nothing: what is taken for one of
// ours is verified, and what is not, is the app's own business.
type unproven struct {
	Kid     string `json:"kid"`
	Issuer  string `json:"iss"`
	Confirm struct {
		JKT string `json:"jkt"`
	} `json:"cnf"`
}

// peek reads what a token says of itself; the zero value of what is none of our form.
func peek(text string) unproven {
	var out unproven
	if len(text) > tokens.MaxSize || !tokens.IsToken(text) {
		return out
	}
	for _, segment := range strings.SplitN(text, ".", 3)[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil || json.Unmarshal(raw, &out) != nil {
			return unproven{}
		}
	}
	return out
}

// thumbprint is the DPoP key that a token says it is bound to.
func (u unproven) thumbprint() (jkt [32]byte, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(u.Confirm.JKT)
	if err != nil || len(raw) != len(jkt) {
		return jkt, false
	}
	return [32]byte(raw), true
}

// token is an access token of ours that was presented and counted.
type token struct {
	*tokens.Claims
	kid string
}

// resource is the app as tokens name it in aud (RFC 8707): its first host.
func (a *App) resource() string { return "https://" + a.Hosts[0] }

// bearer takes a token of ours at the services door: one bound to the certificate of
// this very connection. Any other Authorization is between the caller and the app.
func (c *Checker) bearer(v *ruling) error {
	scheme, text := authorization(v.r.HTTP.Header)
	if scheme != schemeBearer && scheme != schemeDPoP {
		return nil
	}
	_, issuer := c.c.Table.Keys()
	said := peek(text)
	if issuer == "" || said.Issuer != issuer {
		return nil
	}
	v.withheld = true
	if scheme == schemeDPoP {
		return grant.Deny(grant.TokenNotBound, "a token that a DPoP key is bound to counts at the door for clients only")
	}
	return c.present(v, text, said.Kid, tokens.Certificate(v.caller.certificate))
}

// present verifies a token and makes it what this request is decided by.
func (c *Checker) present(v *ruling, text, kid string, by tokens.Confirmation) error {
	verifier, err := c.verifiers.of(c.c.Table)
	if err != nil {
		return err
	}
	claims, err := verifier.Verify(text, v.now, tokens.Expect{Audience: v.app.resource(), Presenter: by, MaxLife: tokens.MaxLife})
	if grant.ReasonOf(err) == grant.Ended { // 401, so that any client gets another (RFC 6750 §3.1)
		return grant.Deny(grant.BadToken, "the token has ended").Because(err)
	}
	if err != nil {
		return err
	}
	if epoch := c.c.Table.state.Load().at.Epoch; claims.Gen != epoch {
		return grant.Deny(grant.Ended, "the token is of another life of the control plane")
	}
	presenter := claims.Subject
	if len(claims.Actor) > 0 {
		presenter = claims.Actor[0]
	}
	if v.caller.proven() && v.caller.principal != presenter {
		return grant.Deny(grant.TokenNotBound, "the token is for another than this caller")
	}
	v.token, v.caller.kid = &token{claims, kid}, kid
	v.caller.act, v.caller.principal = claims.Actor, claims.Subject
	v.caller.known = c.c.Table.pseudonymIn(claims.Grant)
	return nil
}

// pseudonymIn is under which name the holder of a grant stands on the record, "" if
// the grant was never heard of here.
func (t *Table) pseudonymIn(id grant.GrantID) string {
	if h, ok := t.state.Load().byID.get(id); ok {
		return h.who.Value().pseudonym
	}
	return ""
}

// verifiers is the one verifier, made anew when the feed tells another issuer.
type verifiers struct {
	mu       sync.Mutex
	issuer   string
	verifier *tokens.Verifier
}

// verified is how many tokens a verifier remembers.
const verified = 4096

func (s *verifiers) of(t *Table) (*tokens.Verifier, error) {
	_, issuer := t.Keys()
	if issuer == "" {
		return nil, grant.Deny(grant.BadToken, "this gateway has not been told a key that tokens verify under")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verifier != nil && s.issuer == issuer {
		return s.verifier, nil
	}
	v, err := tokens.NewVerifier(tokens.VerifierConfig{
		Issuer: issuer, CacheSize: verified,
		Keys: func() *tokens.KeySet { set, _ := t.Keys(); return set },
	})
	if err != nil {
		return nil, grant.Deny(grant.Internal, "tokens cannot be verified").Because(err)
	}
	s.issuer, s.verifier = issuer, v
	return v, nil
}
