package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
)

const (
	// answerTime is how long the server has to begin an answer.
	answerTime = 30 * time.Second
	// svidTime is how long the Workload API has to give an SVID.
	svidTime = 10 * time.Second
	// firstSVID is the value of --svid without a hint.
	firstSVID = "first"
)

// svidFlag is --svid[=HINT].
type svidFlag struct {
	on   bool
	hint string
}

func (f *svidFlag) String() string { return f.hint }
func (f *svidFlag) Type() string   { return "hint" }
func (f *svidFlag) Set(s string) error {
	*f = svidFlag{on: true, hint: s}
	if s == firstSVID {
		f.hint = ""
	}
	return nil
}

// asWorkload reports whether a workload speaks: never a person's session then.
func (a *app) asWorkload() bool { return a.svid.on || a.c.Getenv("MAYFLY_SVID") == "1" }

// checkSpeaker refuses a MAYFLY_SVID that would be taken for nothing: a workload would
// then speak with the session of whoever logged in on its machine.
func (a *app) checkSpeaker() error {
	if v := a.c.Getenv("MAYFLY_SVID"); v != "" && v != "0" && v != "1" && !a.svid.on {
		return usage{fmt.Sprintf("MAYFLY_SVID is %q: want 1, 0 or nothing", v), "export MAYFLY_SVID=1; the hint of an SVID goes into --svid=HINT"}
	}
	return nil
}

// address returns the server's address in one spelling.
func (a *app) address() (string, error) {
	server := a.server
	if server == "" {
		server = a.c.Getenv("MAYFLY_SERVER")
	}
	if server == "" {
		return "", usage{"no server is named", "--server https://mayfly.acme.example:8443, or export MAYFLY_SERVER=…"}
	}
	c, err := api.NewClient(api.ClientConfig{Server: server, HTTP: http.DefaultClient})
	if err != nil {
		return "", usage{err.Error(), "--server https://mayfly.acme.example:8443"}
	}
	return c.Server(), nil
}

// connect returns a client that speaks as the person who logged in, or as the
// workload that this is.
func (a *app) connect(ctx context.Context) (*api.Client, error) {
	server, err := a.address()
	if err != nil {
		return nil, err
	}
	if a.asWorkload() {
		return a.workload(ctx, server)
	}
	s, err := a.loadSession(server)
	if err != nil {
		return nil, err
	}
	return a.person(server, s.Secret, s.Key)
}

// person returns a client of the public door: with the session that s and key are, or,
// where s is empty, of whoever is about to log in with key.
func (a *app) person(server string, s secret, key tokens.Prover) (*api.Client, error) {
	if a.peer != "" {
		return nil, usage{"--server-id belongs to --svid: people check the server's host name", ""}
	}
	roots, err := a.roots()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	return a.client(server, t, api.ClientConfig{Session: s.text, Prover: key})
}

func (a *app) client(server string, t *http.Transport, c api.ClientConfig) (*api.Client, error) {
	t.ResponseHeaderTimeout = answerTime
	c.HTTP = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.Server, c.Now = server, a.c.Now
	return api.NewClient(c)
}

// roots returns the pool of --ca; nil is the system's.
func (a *app) roots() (*x509.CertPool, error) {
	path := a.ca
	if path == "" {
		path = a.c.Getenv("MAYFLY_CA")
	}
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, usage{"--ca: " + path + " holds no PEM certificate", ""}
	}
	return pool, nil
}

// exampleSocket is a hint on where the Workload API is.
const exampleSocket = "export SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock"

// workload returns a client of the workloads door, with an SVID that is fetched
// now and used for this command only.
func (a *app) workload(ctx context.Context, server string) (*api.Client, error) {
	want, err := a.serverID()
	if err != nil {
		return nil, err
	}
	config, err := a.workloadAPI()
	if err != nil {
		return nil, err
	}
	source, err := fetchSVID(ctx, config)
	if err != nil {
		return nil, err
	}
	return a.workloadClient(server, want, source, 0)
}

// workloadAPI says where this workload's SVID comes from.
func (a *app) workloadAPI() (spiffe.WorkloadConfig, error) {
	socket := a.c.Getenv("SPIFFE_ENDPOINT_SOCKET")
	if socket == "" {
		return spiffe.WorkloadConfig{}, usage{"--svid needs a Workload API", exampleSocket}
	}
	return spiffe.WorkloadConfig{Address: socket, Hint: a.svid.hint}, nil
}

// workloadClient speaks with what source holds, over connections that are kept for
// that long between two calls; 0: to the end.
func (a *app) workloadClient(server string, want spiffeid.ID, source *spiffe.Source, kept time.Duration) (*api.Client, error) {
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: source.Bundles, TrustDomains: []spiffeid.TrustDomain{want.TrustDomain()}})
	if err != nil {
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: source, Verifier: verifier, Authorize: spiffe.Only(want)})
	if err != nil {
		return nil, err
	}
	return a.client(server, &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: answerTime, IdleConnTimeout: kept}, api.ClientConfig{})
}

func (a *app) serverID() (spiffeid.ID, error) {
	text := a.peer
	if text == "" {
		text = a.c.Getenv("MAYFLY_SERVER_ID")
	}
	const example = "--server-id spiffe://acme.example/mayflyd, or export MAYFLY_SERVER_ID=…"
	if text == "" {
		return spiffeid.ID{}, usage{"--svid needs to know whom to trust", example}
	}
	id, err := spiffeid.FromString(text)
	if err != nil || id.Path() == "" {
		return spiffeid.ID{}, usage{fmt.Sprintf("--server-id %q is not a SPIFFE ID of a workload", text), example}
	}
	return id, nil
}

// fetchSVID asks the Workload API once and returns what it gave as a source that
// does not change any more.
func fetchSVID(ctx context.Context, c spiffe.WorkloadConfig) (*spiffe.Source, error) {
	source, err := spiffe.NewWorkloadSource(c)
	if err != nil {
		return nil, usage{err.Error(), exampleSocket}
	}
	ctx, cancel := context.WithTimeout(ctx, svidTime)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = source.Run(running) }()
	err = source.Wait(ctx)
	stop()
	<-done
	if err != nil {
		return nil, noSVID(c.Address, err)
	}
	svid, err := source.SVID()
	if err != nil {
		return nil, err
	}
	return spiffe.Fixed(svid, source.Bundles()), nil
}

// noSVID says that the Workload API gave none in time, and why.
func noSVID(address string, err error) error {
	why := strings.ReplaceAll(err.Error(), "\n", ", ")
	return hinted{fmt.Errorf("no SVID from %s within %s: %s", address, svidTime, why), "check that the Workload API at $SPIFFE_ENDPOINT_SOCKET runs and knows this workload"}
}

// hostOf returns the host and port of a server.
func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	return u.Host
}

// isCode reports whether err is a problem with that code.
func isCode(err error, code string) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == code
}
