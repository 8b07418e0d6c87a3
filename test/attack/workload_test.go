package attack

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

// tlsDoor is one TLS server of ours.
type tlsDoor struct {
	name, address, host string
	mutual              bool
}

// tlsDoors are all that a caller can reach.
func (w *world) tlsDoors(t *testing.T) []tlsDoor {
	t.Helper()
	public, err := url.Parse(w.Public)
	if err != nil {
		t.Fatal(err)
	}
	return []tlsDoor{
		{"services", w.gw.Address, env.BoardHost, true},
		{"people", w.gw.People, env.WikiHost, false},
		{"clients", w.gw.Clients, env.BoardHost, false},
		{"public", public.Host, "localhost", false},
		{"nodes", w.NodesAddress(), "localhost", true},
		{"workloads", w.WorkloadsAddress(), "localhost", true},
	}
}

// says sends one request over a new connection, and returns the answer's status line.
func (d tlsDoor) says(config *tls.Config) (tls.ConnectionState, string, error) {
	config = config.Clone()
	config.ServerName = d.host
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", d.address, config)
	if err != nil {
		return tls.ConnectionState{}, "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return tls.ConnectionState{}, "", err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", d.host); err != nil {
		return c.ConnectionState(), "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		err = io.ErrUnexpectedEOF
	}
	return c.ConnectionState(), line, err
}

// showing is a client that shows a certificate, and believes the server anything.
func showing(cert *tls.Certificate) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify:   true, // the attacker's own client
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}
}

func minted(t *testing.T, ca *dev.CA, id string) *tls.Certificate {
	t.Helper()
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Mint(dev.Template{ID: parsed})
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// keeper counts the sessions that a server hands out.
type keeper struct {
	tls.ClientSessionCache
	kept atomic.Int64
}

// Put implements tls.ClientSessionCache.
func (k *keeper) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		k.kept.Add(1)
	}
	k.ClientSessionCache.Put(key, s)
}

// A resumed session would outlive the certificate that it began with, and skip the
// check of it: no door hands one out.
func TestWorkloadSessionsAreNotResumed(t *testing.T) {
	w := theWorld(t)
	for _, d := range w.tlsDoors(t) {
		t.Run(d.name, func(t *testing.T) {
			cert := &tls.Certificate{}
			if d.mutual {
				cert = minted(t, w.CA, env.ReporterID)
			}
			answered := 0
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := showing(cert)
				k := &keeper{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
				config.MinVersion, config.MaxVersion, config.ClientSessionCache = version, version, k
				for range 3 {
					state, _, err := d.says(config)
					if state.DidResume {
						t.Errorf("%s: a session was resumed", tls.VersionName(version))
					}
					if err == nil || d.name == "nodes" && state.HandshakeComplete { // which speaks no HTTP/1.1
						answered++
					}
				}
				if n := k.kept.Load(); n != 0 {
					t.Errorf("%s: %d sessions were handed out", tls.VersionName(version), n)
				}
			}
			if answered == 0 {
				t.Error("nothing was answered at all")
			}
		})
	}
}

// At no door does a workload of another domain, or one that only says it is ours,
// get as far as an answer.
func TestWorkloadOfAForeignDomain(t *testing.T) {
	w := theWorld(t)
	foreign, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString("evil.example")})
	if err != nil {
		t.Fatal(err)
	}
	impostor, err := dev.NewCA(dev.CAConfig{TrustDomain: w.CA.TrustDomain()})
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.board.Arrivals())
	for _, d := range w.tlsDoors(t) {
		if !d.mutual {
			continue
		}
		ours := env.ReporterID
		if d.name == "nodes" {
			ours = env.SidecarID
		}
		for name, cert := range map[string]*tls.Certificate{
			"another domain":                      minted(t, foreign, "spiffe://evil.example/ns/data/sa/reporter"),
			"our ID, another domain's authority":  minted(t, foreign, ours),
			"our ID, an authority named as ours":  minted(t, impostor, ours),
			"another domain's ID, our authority":  minted(t, w.CA, "spiffe://evil.example/ns/data/sa/reporter"),
			"a partner's ID, our authority":       minted(t, w.CA, "spiffe://"+env.PartnerDomain+"/ns/data/sa/reporter"),
			"our ID, the authority of a partner":  minted(t, w.Env.Partner, ours),
			"no certificate":                      {},
			"the gateway's ID, another authority": minted(t, foreign, env.ListenerID),
		} {
			if _, line, err := d.says(showing(cert)); err == nil {
				t.Errorf("%s: %s is answered %s", d.name, name, strings.TrimSpace(line))
			}
		}
	}
	if got := len(w.board.Arrivals()); got != before {
		t.Errorf("%d requests reached the app", got-before)
	}
}

// A partner whose bundle comes empty is out at the next request of connections that
// are open, at the gateway and at mayflyd.
func TestWorkloadOfARedactedDomain(t *testing.T) {
	w := theWorld(t)
	cert := minted(t, w.Env.Partner, "spiffe://"+env.PartnerDomain+"/ns/data/sa/reporter")
	gateway, err := w.CallerShowing(w.gw, *cert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Close)
	plane := &http.Transport{TLSClientConfig: showing(cert), MaxConnsPerHost: 1}
	t.Cleanup(plane.CloseIdleConnections)
	asks := []struct {
		name, address string
		client        *http.Client
		first, then   string // what the answer holds
	}{
		{"gateway", "https://" + env.BoardHost + "/", gateway.Client, "no_grant", "bad_certificate"},
		{"mayflyd", "https://" + w.WorkloadsAddress() + "/api/v1/whoami", &http.Client{Transport: plane, Timeout: 10 * time.Second}, "spiffe://" + env.PartnerDomain, "no_identity"},
	}
	says := func(i int) (string, error) {
		res, err := asks[i].client.Get(asks[i].address)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return string(text), err
	}
	for i, a := range asks {
		eventually(t, a.name+" knows the partner", func() error {
			text, err := says(i)
			if err == nil && !strings.Contains(text, a.first) {
				err = errors.New(text)
			}
			return err
		})
	}
	if err := w.Env.Partner.Redact(); err != nil {
		t.Fatal(err)
	}
	for i, a := range asks {
		eventually(t, a.name+" knows the partner no more, on the same connection", func() error {
			text, err := says(i)
			if err == nil && !strings.Contains(text, a.then) {
				err = errors.New(text)
			}
			return err
		})
	}
	for _, d := range w.tlsDoors(t) {
		if d.mutual {
			eventually(t, d.name+" refuses the partner's handshake", func() error {
				if _, line, err := d.says(showing(cert)); err == nil {
					return errors.New(line)
				}
				return nil
			})
		}
	}
}
