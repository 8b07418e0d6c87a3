package proxy

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// pathMetadata is where RFC 9728 §3 has the description of a protected resource.
const pathMetadata = "/.well-known/oauth-protected-resource"

// protectedResource is RFC 9728 §2, for one app.
type protectedResource struct {
	Resource      string   `json:"resource"`
	Name          string   `json:"resource_name"`
	Servers       []string `json:"authorization_servers"`
	Bearer        []string `json:"bearer_methods_supported"`
	ProofAlgs     []string `json:"dpop_signing_alg_values_supported"`
	ProofRequired bool     `json:"dpop_bound_access_tokens_required"`
	Certificate   bool     `json:"tls_client_certificate_bound_access_tokens"`
	Details       []string `json:"authorization_details_types_supported"`
}

// metadata answers on paths of ours at the doors for programs: what they need to know
// to get a token. It says nothing that is a secret, and never asks the app.
func (c *Checker) metadata(v *ruling) (*app.Response, error) {
	path, query, _ := strings.Cut(v.r.HTTP.Path, "?")
	if ownPath(path) {
		return nil, grant.Deny(grant.UnknownOperation, "the paths below %s are the gateway's", ownPrefix)
	}
	if path != pathMetadata && !strings.HasPrefix(path, pathMetadata+"/") {
		return nil, nil
	}
	v.own = true
	_, issuer := c.c.Table.Keys()
	switch {
	case path != pathMetadata || query != "" || !reads(v.r.HTTP.Method):
		v.status = http.StatusNotFound
		return nil, grant.Deny(grant.UnknownOperation, "this resource is described at %s", pathMetadata)
	case issuer == "":
		return nil, grant.Deny(grant.Stale, "the gateway has not been told who issues tokens")
	}
	body, err := json.Marshal(protectedResource{
		Resource: v.app.resource(), Name: v.app.Name, Servers: []string{issuer}, Bearer: []string{"header"}, ProofAlgs: proofAlgs(),
		ProofRequired: !v.app.Takes(DoorServices), Certificate: v.app.Takes(DoorServices), Details: []string{tokens.TypePrefix + v.app.Kind},
	})
	if err != nil {
		return nil, grant.Deny(grant.Internal, "the description cannot be written").Because(err)
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	return &app.Response{Status: http.StatusOK, Header: h, Body: append(body, '\n')}, nil
}

func proofAlgs() []string { return []string{string(tokens.ES256), string(tokens.RS256)} }

// reached is the URL of a host as it is reached under a port.
func reached(host string, port uint16) string {
	if port == 0 || port == 443 {
		return "https://" + host
	}
	return "https://" + host + ":" + strconv.Itoa(int(port))
}

// challenge says in a 401 of the doors for programs what would be taken instead
// (RFC 9110 §11.6.1, RFC 9728 §5.1, RFC 9449 §7.1, RFC 9470 §3).
func (c *Checker) challenge(v *ruling, d *grant.Denial, resp app.Response) {
	if resp.Status != http.StatusUnauthorized || v.app == nil || v.r.Door == DoorPeople {
		return
	}
	scheme, port := "Bearer", c.c.ServicesPort
	var params []string
	add := func(name, value string) { params = append(params, name+`="`+value+`"`) }
	if v.r.Door == DoorClients {
		scheme, port = "DPoP", c.c.ClientsPort
		add("algs", strings.Join(proofAlgs(), " "))
	}
	switch {
	case v.nonce != "":
		resp.Header.Set("DPoP-Nonce", v.nonce)
		add("error", "use_dpop_nonce")
	case v.stepUp != nil:
		add("error", "insufficient_user_authentication")
		if len(v.stepUp.ACR) > 0 {
			add("acr_values", strings.Join(v.stepUp.ACR, " "))
		}
		if v.stepUp.MaxAge > 0 {
			add("max_age", strconv.Itoa(int(v.stepUp.MaxAge.Seconds())))
		}
	case v.invalidProof:
		add("error", "invalid_dpop_proof")
	case slices.Contains([]grant.Reason{grant.BadToken, grant.TokenNotBound, grant.WrongAudience}, d.Reason):
		add("error", "invalid_token")
	}
	add("resource_metadata", reached(hostOf(v.r.HTTP.Authority), port)+pathMetadata)
	resp.Header.Set("WWW-Authenticate", scheme+" "+strings.Join(params, ", "))
}
