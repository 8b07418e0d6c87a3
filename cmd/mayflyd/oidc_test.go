package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const aroundOIDC = `data_dir: data
origin: mayfly.acme.example/log
identity: {workload_api: "unix:///run/spire/agent.sock", id: "spiffe://acme.example/mayflyd"}
trust_domains: [acme.example]
public: {address: "127.0.0.1:8443", url: "https://mayfly.acme.example:8443/", cert: c, key: k}
nodes: 127.0.0.1:8444
workloads: 127.0.0.1:8445
policy: {repository: policy, first_signer: first}
`

func load(t *testing.T, providers string, dev bool) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mayflyd.yaml")
	if err := os.WriteFile(path, []byte(aroundOIDC+providers), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(path, dev)
}

func TestProvidersAsConfigured(t *testing.T) {
	c, err := load(t, `oidc:
  - {name: idp, issuer: "https://login.acme.example", client_id: mayfly}
  - name: partner
    issuer: https://login.partner.example/realms/people
    client_id: mayfly
    subject_claim: oid
    groups_claim: realm_access.roles
    groups_strip_slash: true
    name_claim: display
    email_claim: upn
    userinfo: true
    refresh: false
    scopes: [profile]
    allow_addresses: [10.20.0.7, "10.30.0.0/24", "fd00:20::/64"]
    roots: roots.pem
`, false)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.OIDC[0].settings(c, false)
	if err != nil || first.RedirectURL != "https://mayfly.acme.example:8443/oidc/idp/callback" || first.Refresh != nil || len(first.AllowAddresses) != 0 {
		t.Errorf("%+v, %v", first, err)
	}
	s, err := c.OIDC[1].settings(c, false)
	if err != nil || s.RedirectURL != "https://mayfly.acme.example:8443/oidc/partner/callback" || s.SubjectClaim != "oid" || s.GroupsClaim != "realm_access.roles" ||
		!s.GroupsStripSlash || s.NameClaim != "display" || s.EmailClaim != "upn" || !s.UserInfo || s.Refresh == nil || *s.Refresh || len(s.Scopes) != 1 ||
		len(s.AllowAddresses) != 3 || s.AllowAddresses[0].String() != "10.20.0.7/32" {
		t.Errorf("%+v, %v", s, err)
	}
	if !filepath.IsAbs(c.OIDC[1].Roots) {
		t.Errorf("roots are at %q", c.OIDC[1].Roots)
	}
	if s, err := c.OIDC[0].settings(c, true); err != nil || len(s.AllowAddresses) != 2 {
		t.Errorf("--dev lists %v, %v", s.AllowAddresses, err)
	}
	if _, err := c.OIDC[1].provider(c, false); err == nil || !strings.Contains(err.Error(), "oidc partner: roots") {
		t.Errorf("without its roots: %v", err)
	}
}

func TestProvidersThatAreRefused(t *testing.T) {
	for _, c := range []struct{ name, providers, want string }{
		{"none", "", "at least one provider"},
		{"an empty list", "oidc: []", "at least one provider"},
		{"a name twice", `oidc:
  - {name: idp, issuer: "https://a.acme.example", client_id: mayfly}
  - {name: idp, issuer: "https://b.acme.example", client_id: mayfly}`, `oidc[1].name: "idp" is oidc[0]'s`},
		{"in the clear", `oidc: [{name: idp, issuer: "http://127.0.0.1:1", client_id: mayfly}]`, "oidc[0].issuer: want an https URL"},
		{"no issuer", `oidc: [{name: idp, client_id: mayfly}]`, "oidc[0]: oidc: issuer"},
		{"no client", `oidc: [{name: idp, issuer: "https://a.acme.example"}]`, "oidc[0]: oidc: no client id"},
		{"a name with a slash", `oidc: [{name: a/b, issuer: "https://a.acme.example", client_id: mayfly}]`, "oidc[0]: oidc: name"},
		{"an unknown key", `oidc: [{name: idp, issuer: "https://a.acme.example", client_id: mayfly, insecure: true}]`, "insecure"},
		{"people named by e-mail", `oidc: [{name: idp, issuer: "https://a.acme.example", client_id: mayfly, subject_claim: email}]`, "email can become somebody else's"},
		{"a host among addresses", `oidc: [{name: idp, issuer: "https://a.acme.example", client_id: mayfly, allow_addresses: [a.acme.example]}]`, "want an IP address"},
		{"a prefix with host bits", `oidc: [{name: idp, issuer: "https://a.acme.example", client_id: mayfly, allow_addresses: [10.1.0.5/16]}]`, "want an IP address"},
		{"every address", `oidc: [{name: idp, issuer: "https://a.acme.example", client_id: mayfly, allow_addresses: ["::/0"]}]`, "every address"},
	} {
		if _, err := load(t, c.providers, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := load(t, `oidc: [{name: idp, issuer: "http://127.0.0.1:1", client_id: mayfly}]`, true); err != nil {
		t.Errorf("--dev: %v", err)
	}
}
