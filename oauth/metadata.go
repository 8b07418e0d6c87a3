package oauth

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/tokens"
)

// The grant types that the token endpoint takes.
const (
	grantCode        = "authorization_code"
	grantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
	grantCredentials = "client_credentials"
)

// aliases are the endpoints at the workloads door (RFC 8705 §5).
type aliases struct {
	Token      string `json:"token_endpoint"`
	Revocation string `json:"revocation_endpoint"`
	Introspect string `json:"introspection_endpoint"`
}

// metadata of RFC 8414 §2 and of the extensions that we implement.
type metadata struct {
	Issuer          string   `json:"issuer"`
	Authorization   string   `json:"authorization_endpoint"`
	Token           string   `json:"token_endpoint"`
	Revocation      string   `json:"revocation_endpoint"`
	Introspection   string   `json:"introspection_endpoint"`
	JWKS            string   `json:"jwks_uri"`
	ResponseTypes   []string `json:"response_types_supported"`
	ResponseModes   []string `json:"response_modes_supported"`
	GrantTypes      []string `json:"grant_types_supported"`
	TokenAuth       []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuth  []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectAuth  []string `json:"introspection_endpoint_auth_methods_supported"`
	Challenges      []string `json:"code_challenge_methods_supported"`
	ISS             bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	DPoPAlgs        []string `json:"dpop_signing_alg_values_supported"`              // RFC 9449 §5.1
	CertificateBind bool     `json:"tls_client_certificate_bound_access_tokens"`     // RFC 8705 §3.3
	DetailTypes     []string `json:"authorization_details_types_supported"`          // RFC 9396 §10
	Aliases         *aliases `json:"mtls_endpoint_aliases,omitempty"`
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request, _ door) error {
	m := metadata{
		Issuer: s.c.Issuer, Authorization: s.c.Issuer + pathAuthorize, Token: s.c.Issuer + pathToken, Revocation: s.c.Issuer + pathRevoke,
		Introspection: s.c.Issuer + pathIntrospect, JWKS: s.c.Issuer + pathJWKS,
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"}, GrantTypes: []string{grantCode, grantExchange, grantCredentials},
		// A client of the public door has no secret: it proves a key (RFC 9449). One of
		// the workloads door has its SVID.
		TokenAuth: []string{"none", "tls_client_auth"}, RevocationAuth: []string{"none", "tls_client_auth"}, IntrospectAuth: []string{"none", "tls_client_auth"},
		Challenges: []string{"S256"}, ISS: true, DPoPAlgs: []string{"ES256", "RS256"}, CertificateBind: true,
	}
	for _, kind := range slices.Sorted(maps.Keys(s.c.Kinds)) {
		m.DetailTypes = append(m.DetailTypes, tokens.TypePrefix+kind)
	}
	if s.c.MTLS != "" {
		m.Aliases = &aliases{Token: s.c.MTLS + pathToken, Revocation: s.c.MTLS + pathRevoke, Introspect: s.c.MTLS + pathIntrospect}
	}
	public(w, metadataAge)
	writeJSON(w, http.StatusOK, m)
	return nil
}

// openID answers with as much of OpenID Connect Discovery as readers of tokens ask
// for that know nothing else, AWS STS among them. Mayfly is no OpenID provider.
func (s *Server) openID(w http.ResponseWriter, _ *http.Request, _ door) error {
	public(w, metadataAge)
	writeJSON(w, http.StatusOK, struct {
		Issuer        string   `json:"issuer"`
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		JWKS          string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algs          []string `json:"id_token_signing_alg_values_supported"`
	}{
		s.c.Issuer, s.c.Issuer + pathAuthorize, s.c.Issuer + pathToken, s.c.Issuer + pathJWKS,
		[]string{"code"}, []string{"public"}, []string{"ES256", "RS256"},
	})
	return nil
}

const (
	metadataAge = "max-age=300"
	// keysAge is far below the time that a key is published before it signs.
	keysAge = "max-age=60"
)

// public lets an answer that is the same for everybody be cached and read anywhere.
func public(w http.ResponseWriter, age string) {
	w.Header().Set("Cache-Control", "public, "+age)
	w.Header().Set("Access-Control-Allow-Origin", "*")
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request, _ door) error {
	set, err := s.service.TokenKeys(r.Context())
	if err != nil {
		return err
	}
	public(w, keysAge)
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, err = w.Write(set.JWKS())
	return noAnswer(err)
}

// noAnswer drops the error of a caller who is gone: there is nobody to tell.
func noAnswer(error) error { return nil }

func (s *Server) schema(w http.ResponseWriter, r *http.Request, _ door) error {
	kind, ok := strings.CutSuffix(r.PathValue("file"), ".json")
	body, known := s.schemas[kind]
	if !ok || !known {
		return refuse(InvalidRequest, "there is no such schema").with(http.StatusNotFound)
	}
	public(w, metadataAge)
	w.Header().Set("Content-Type", "application/schema+json")
	_, err := w.Write(body)
	return noAnswer(err)
}
