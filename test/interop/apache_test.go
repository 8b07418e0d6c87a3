package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

const apacheModules = "/usr/lib/apache2/modules"

// apache is an Apache of the test's own, with one page for whoever shows a token of
// ours that is bound to the certificate of the connection (RFC 8705).
type apache struct {
	address string
	roots   *x509.CertPool
}

func startApache(t *testing.T, p *product, m minted) *apache {
	t.Helper()
	binary := need.Tool(t, "apache2", "Apache 2.4 with mod_oauth2: make interop")
	if _, err := os.Stat(filepath.Join(apacheModules, "mod_oauth2.so")); err != nil {
		need.Missing(t, fmt.Errorf("no mod_oauth2: make interop: %w", err))
	}
	dir, err := os.MkdirTemp("", "mfap")
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("Apache says: %.20000s", text)
		}
		check(t, os.RemoveAll(dir))
	})
	check(t, os.Chmod(dir, 0o755)) // its workers are another user
	check(t, os.Mkdir(filepath.Join(dir, "pages"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "pages", "index.html"), []byte("the protected page\n"), 0o644))
	own, err := p.CA.Mint(dev.Template{DNS: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	check(t, err)
	cert, key := pair(t, dir, "apache", own)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	a := &apache{address: l.Addr().String(), roots: p.Roots()}
	check(t, l.Close())
	user := ""
	if os.Getuid() == 0 {
		user = "User www-data\nGroup www-data\n"
	}
	conf := filepath.Join(dir, "apache.conf")
	check(t, os.WriteFile(conf, []byte(user+fmt.Sprintf(`ServerRoot %[1]q
ServerName localhost
Listen %[2]s
PidFile %[1]s/apache.pid
ErrorLog %[1]s/error.log
LogLevel warn
Mutex file:%[1]s default
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authn_core_module %[3]s/mod_authn_core.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule authz_user_module %[3]s/mod_authz_user.so
LoadModule dir_module %[3]s/mod_dir.so
LoadModule ssl_module %[3]s/mod_ssl.so
LoadModule oauth2_module %[3]s/mod_oauth2.so
DocumentRoot %[1]s/pages
SSLEngine on
SSLCertificateFile %[4]s
SSLCertificateKeyFile %[5]s
SSLVerifyClient optional_no_ca
SSLOptions +StdEnvVars +ExportCertData
SSLSessionTickets off
<Location "/">
  AuthType oauth2
  OAuth2TokenVerify jwk '%[6]s' type=mtls&mtls.policy=required&verify.exp=required
  Require valid-user
</Location>
`, dir, a.address, apacheModules, cert, key, keyOf(t, m))), 0o600))
	cmd := exec.Command(binary, "-f", conf, "-DFOREGROUND")
	check(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	check(t, env.Eventually(ctx, "Apache serves", func() error {
		_, err := a.get(nil, "")
		if err != nil {
			text, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			err = fmt.Errorf("%w: %s", err, text)
		}
		return err
	}))
	return a
}

// keyOf returns the key that signed a token, out of the server's keys.
func keyOf(t testing.TB, m minted) string {
	t.Helper()
	var header struct {
		Kid string `json:"kid"`
	}
	check(t, json.Unmarshal(decode(t, strings.Split(m.Token, ".")[0]), &header))
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	check(t, json.Unmarshal(m.JWKS, &set))
	for _, key := range set.Keys {
		if key["kid"] == header.Kid {
			text, err := json.Marshal(key)
			check(t, err)
			return string(text)
		}
	}
	t.Fatalf("no key %s in %s", header.Kid, m.JWKS)
	return ""
}

// get asks for the page over a connection with that certificate, nil for none.
func (a *apache) get(cert *tls.Certificate, token string) (int, error) {
	config := &tls.Config{RootCAs: a.roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, "https://"+a.address+"/", nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// TestApacheHoldsTheBinding has a resource server that is not ours enforce RFC 8705.
func TestApacheHoldsTheBinding(t *testing.T) {
	p := theProduct(t)
	m := p.mint(t)
	a := startApache(t, p, m)
	sibling, other := p.svid(t, env.ReporterID), p.svid(t, env.ShopID)
	bad := m.bent(t)
	for _, c := range []struct {
		name   string
		cert   *tls.Certificate
		token  string
		status int
	}{
		{"the certificate that it is bound to", &m.cert, m.Token, 200},
		{"another certificate of the same workload", &sibling, m.Token, 401},
		{"another workload's certificate", &other, m.Token, 401},
		{"no certificate", nil, m.Token, 401},
		{"no token", &m.cert, "", 401},
		{"another signature", &m.cert, bad["another signature"].Token, 401},
		{"another subject", &m.cert, bad["another subject"].Token, 401},
		{"no algorithm", &m.cert, bad["no algorithm"].Token, 401},
	} {
		if got, err := a.get(c.cert, c.token); err != nil || got != c.status {
			t.Errorf("%s: %d, %v, want %d", c.name, got, err, c.status)
		}
	}
	// A verdict is cached there, so the token that ends is first shown after its end.
	short := p.mintFor(t, 3*time.Second)
	var exp int64
	check(t, json.Unmarshal(claim(t, short.Token, "exp"), &exp))
	ended := time.NewTimer(time.Until(time.Unix(exp+1, 0)))
	defer ended.Stop()
	select {
	case <-ended.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if got, err := a.get(&short.cert, short.Token); err != nil || got != 401 {
		t.Errorf("an expired token: %d, %v", got, err)
	}
}
