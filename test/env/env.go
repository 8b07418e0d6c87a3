package env

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// Names and SPIFFE IDs of the environment. All are of acme.example.
const (
	TrustDomain   = "acme.example"
	PartnerDomain = "partner.example"
	ControlID     = "spiffe://acme.example/mayflyd"
	SidecarID     = "spiffe://acme.example/gw/sidecar"
	ListenerID    = "spiffe://acme.example/gw/listener"
	RefunderID    = "spiffe://acme.example/ns/pay/sa/refunder" // may ask for stripe/refunds and reports/read
	ReporterID    = "spiffe://acme.example/ns/data/sa/reporter"
	ShopID        = "spiffe://acme.example/ns/web/sa/shop" // may ask for nothing

	StripeHost  = "stripe.acme.example"
	ReportsHost = "reports.acme.example"
	WikiHost    = "wiki.acme.example"  // people only
	BoardHost   = "board.acme.example" // of no app, until a test's policy has one

	// The upstream keys, which only the sidecar holds. stripe-mock takes test keys only.
	ReadKey    = "rk_test_readkeyheldbythegateway"
	RefundsKey = "rk_test_refundskeyheldbythegateway"

	clientID = "mayfly"
	origin   = "mayfly.acme.example/log"
)

// Config says where things are. Bin and Dir are required.
type Config struct {
	Bin        string // folder of mayfly, mayflyd, mayfly-sidecar
	Envoy      string // path of Envoy, empty: found by the sidecar
	StripeMock string // path of stripe-mock, empty: found on PATH
	Dir        string // an empty folder of ours; its path is short: sockets are in it
	// PolicyEvery is how often mayflyd looks for a commit; 0 means 200 ms.
	PolicyEvery time.Duration
	// SVIDLife is the life of workload SVIDs; 0 means one hour.
	SVIDLife time.Duration
	// IdentityMaxAge is mayflyd's identity_max_age; 0 means its own default.
	IdentityMaxAge time.Duration
	// ControlLines and GatewayLines are added to mayflyd's configuration and to each
	// gateway's, such as "traces: {…}".
	ControlLines, GatewayLines []string
	// Federate makes mayflyd and gateways take workloads of PartnerDomain too. Its
	// bundle comes with their SVIDs or, with Endpoint, from its bundle endpoint.
	Federate, Endpoint bool
	// Providers starts more identity providers, once mayflyd's address is known, and
	// returns their lines of mayflyd's oidc: list. Nil: none.
	Providers func(context.Context, *Env) (lines []string, err error)
}

// Env is a running product.
type Env struct {
	Config
	CA       *dev.CA
	Partner  *dev.CA             // with Federate, or nil
	Endpoint *dev.BundleEndpoint // of Partner; nil without Config.Endpoint
	IdP      *dev.IdP
	Policy   *Policy
	Control  *Process // mayflyd
	Mock     *Process // stripe-mock
	Stripe   *Recorder
	Reports  *Recorder
	Wiki     *Recorder // of people; says in JSON what headers it was given
	Gateways []*Gateway

	// Via is where gateways that are added from now on reach mayflyd: a relay of the
	// test's. Empty: at Nodes.
	Via string

	Public     string // https URL of mayflyd
	public     string // host:port behind Public
	health     string // host:port
	workloads  string // https URL of the door for workloads
	nodes      string // host:port
	caFile     string
	keyFile    string   // the record's public key
	providers  []string // lines of mayflyd's oidc: list
	federation string   // line of both configurations, or ""
	people     string   // port under which people reach every gateway
	clients    string   // likewise clients
	doors      int      // gateways so far: each takes people at an address of its own

	api  *dev.WorkloadAPI
	stop context.CancelFunc
	done []chan struct{}

	mu       sync.Mutex
	closes   []func()
	visitors int // so far
}

// Start starts everything but gateways, commits the policy and waits until it is
// in force. On an error what was started is stopped.
func Start(ctx context.Context, c Config) (*Env, error) {
	if c.Bin == "" || c.Dir == "" {
		return nil, errors.New("env: Bin and Dir are required")
	}
	if c.PolicyEvery == 0 {
		c.PolicyEvery = 200 * time.Millisecond
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &Env{Config: c, stop: stop}
	for _, step := range []func(context.Context, context.Context) error{
		e.takeAddresses, e.startTrust, e.startUpstreams, e.writeCertificates, e.startProviders, e.makePolicy, e.startControl,
	} {
		if err := step(ctx, run); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// Close stops everything that was started.
func (e *Env) Close() error {
	e.mu.Lock()
	closes := e.closes
	e.closes = nil
	e.mu.Unlock()
	for _, f := range closes {
		f()
	}
	var errs []error
	for _, g := range e.Gateways {
		errs = append(errs, g.Process.Stop())
	}
	for _, p := range []*Process{e.Control, e.Mock} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	for _, r := range []*Recorder{e.Stripe, e.Reports, e.Wiki} {
		if r != nil {
			r.close()
		}
	}
	e.stop()
	for _, d := range e.done {
		<-d
	}
	return errors.Join(errs...)
}

// atClose has f called when the environment is closed.
func (e *Env) atClose(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closes = append(e.closes, f)
}

// Nodes is host:port of mayflyd's door for nodes.
func (e *Env) Nodes() string { return e.nodes }

func (e *Env) path(name string) string { return filepath.Join(e.Dir, name) }

// serve runs f until Close.
func (e *Env) serve(run context.Context, f func(context.Context) error) {
	done := make(chan struct{})
	e.done = append(e.done, done)
	go func() {
		defer close(done)
		_ = f(run)
	}()
}

// takeAddresses chooses mayflyd's ports: the provider must know where it sends
// browsers back to.
func (e *Env) takeAddresses(_, _ context.Context) error {
	for _, a := range []*string{&e.public, &e.nodes, &e.workloads, &e.health} {
		address, err := FreeAddress()
		if err != nil {
			return err
		}
		*a = address
	}
	people, err := FreeAddress()
	if err != nil {
		return err
	}
	if _, e.people, err = net.SplitHostPort(people); err != nil {
		return err
	}
	clients, err := FreeAddress()
	if err != nil {
		return err
	}
	if _, e.clients, err = net.SplitHostPort(clients); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(e.public)
	e.Public, e.workloads = "https://localhost:"+port, "https://"+e.workloads
	return err
}

// startTrust starts the development CA's Workload API and the identity provider.
func (e *Env) startTrust(_, run context.Context) error {
	var err error
	if e.CA, err = dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(TrustDomain)}); err != nil {
		return err
	}
	var entries []dev.Entry
	for _, w := range []struct{ id, hint, socket string }{
		{ControlID, "mayflyd", "mayflyd.sock"}, {SidecarID, "sidecar", "gw.sock"}, {ListenerID, "listener", "gw.sock"},
		{RefunderID, "refunder", "refunder.sock"}, {ReporterID, "reporter", "reporter.sock"}, {ShopID, "shop", "shop.sock"},
	} {
		id, err := spiffeid.FromString(w.id)
		if err != nil {
			return err
		}
		entry := dev.Entry{Socket: e.path(w.socket), ID: id, Hint: w.hint, TTL: e.SVIDLife}
		if w.id == ListenerID {
			entry.DNS = []string{StripeHost, ReportsHost}
		}
		entries = append(entries, entry)
	}
	var federated []*dev.CA
	if e.Federate {
		if e.Partner, err = dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(PartnerDomain)}); err != nil {
			return err
		}
		if e.Config.Endpoint {
			err = e.startEndpoint()
		} else {
			federated = append(federated, e.Partner)
		}
		if err != nil {
			return err
		}
	}
	if e.api, err = dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: e.CA, Federated: federated, Entries: entries}); err != nil {
		return err
	}
	if err := e.api.Listen(); err != nil {
		return err
	}
	e.serve(run, e.api.Serve)
	e.IdP, err = dev.NewIdP(dev.IdPConfig{
		Users: dev.People(map[string][]string{
			"alice": {"support"}, "bob": {"payments-leads", "security"}, "carol": {"support", "payments-leads"},
		}),
		Clients: []dev.Client{{ID: clientID, Redirects: []string{e.Public + "/oidc/idp/callback"}, BackchannelLogout: e.Public + "/oidc/idp/logout"}},
		Roots:   e.Roots(),
	})
	if err != nil {
		return err
	}
	if err := e.IdP.Listen(); err != nil {
		return err
	}
	e.serve(run, e.IdP.Serve)
	return nil
}

// startUpstreams starts stripe-mock, the reports app and the wiki, each behind a
// recorder.
func (e *Env) startUpstreams(ctx, _ context.Context) error {
	mock := e.StripeMock
	if mock == "" {
		mock = "stripe-mock"
	}
	address, err := FreeAddress()
	if err != nil {
		return err
	}
	unused, err := FreeAddress() // else it takes one port for all of the machine, and ends if that is taken
	if err != nil {
		return err
	}
	e.Mock = newProcess("stripe-mock", e.Dir, e.path("stripe-mock.log"), os.Environ(), mock, "-http-addr", address, "-https-addr", unused)
	if err := e.Mock.Start(); err != nil {
		return err
	}
	if err := awaitPort(ctx, address); err != nil {
		return fmt.Errorf("stripe-mock: %w", err)
	}
	if e.Stripe, err = newRecorder("stripe", to(address)); err != nil {
		return err
	}
	if e.Reports, err = newRecorder("reports", reports()); err != nil {
		return err
	}
	e.Wiki, err = newRecorder("wiki", wiki())
	return err
}

// Recorder starts one more app, which answers like reports.
func (e *Env) Recorder(app string) (*Recorder, error) {
	r, err := newRecorder(app, reports())
	if err != nil {
		return nil, err
	}
	e.atClose(r.close)
	return r, nil
}

func (e *Env) makePolicy(_, _ context.Context) error {
	var err error
	if e.Policy, err = newPolicy(e.path("policy")); err != nil {
		return err
	}
	_, err = e.Policy.Commit("Begin", e.Files())
	return err
}

// startProviders starts what Config asks for beside the development provider.
func (e *Env) startProviders(ctx, _ context.Context) (err error) {
	if e.Config.Providers != nil {
		e.providers, err = e.Config.Providers(ctx, e)
	}
	return err
}

// startControl initialises and starts mayflyd.
func (e *Env) startControl(ctx, _ context.Context) error {
	config, err := e.controlConfig()
	if err != nil {
		return err
	}
	binary := filepath.Join(e.Bin, "mayflyd")
	init := newProcess("mayflyd init", e.Dir, e.path("init.log"), os.Environ(), binary, "init", "--dev", "--config", config)
	if err := init.Start(); err != nil {
		return err
	}
	<-init.Ended()
	e.keyFile = e.path("data/checkpoint.pub")
	e.Control = newProcess("mayflyd", e.Dir, e.path("mayflyd.log"), os.Environ(), binary, "--dev", "--config", config)
	return e.StartControl(ctx)
}

// StartControl starts mayflyd, for the first time or again, and waits until a
// policy is in force.
func (e *Env) StartControl(ctx context.Context) error {
	if err := e.Control.Start(); err != nil {
		return err
	}
	return e.awaitReady(ctx, e.Control, "http://"+e.health)
}

// trustDomains are those whose workloads are taken, as configurations list them.
func (e *Env) trustDomains() string {
	if e.Federate {
		return TrustDomain + ", " + PartnerDomain
	}
	return TrustDomain
}

func (e *Env) controlConfig() (string, error) {
	text := fmt.Sprintf(`data_dir: data
origin: %s
identity: {workload_api: %q, id: %q}
trust_domains: [%s]
%spublic: {address: %q, url: %q, cert: public.crt, key: public.key}
people_port: %s
nodes: %q
workloads: %q
health: %q
policy: {repository: policy, branch: main, folder: policy, every: %s}
oidc:
  - {name: idp, issuer: %q, client_id: %s}
`, origin, dev.Address(e.path("mayflyd.sock")), ControlID, e.trustDomains(), e.federation, e.public, e.Public, e.people, e.nodes, strings.TrimPrefix(e.workloads, "https://"),
		e.health, e.PolicyEvery, e.IdP.Issuer(), clientID)
	for _, line := range e.providers {
		text += "  - " + line + "\n"
	}
	if e.IdentityMaxAge > 0 {
		text += fmt.Sprintf("identity_max_age: %s\n", e.IdentityMaxAge)
	}
	for _, line := range e.ControlLines {
		text += line + "\n"
	}
	return e.path("mayflyd.yaml"), os.WriteFile(e.path("mayflyd.yaml"), []byte(text), 0o600)
}

// writeCertificates makes the certificates that people see, mayflyd's and the
// wiki's, and the roots that the command line trusts.
func (e *Env) writeCertificates(_, _ context.Context) error {
	for file, hosts := range map[string][]string{"public": {"localhost"}, "wiki": {WikiHost, BoardHost, ReportsHost, StripeHost}} {
		cert, err := e.CA.Mint(dev.Template{DNS: hosts, TTL: 24 * time.Hour, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil {
			return err
		}
		chain, key, err := dev.PEM(cert)
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(e.path(file+".crt"), chain, 0o600), os.WriteFile(e.path(file+".key"), key, 0o600)); err != nil {
			return err
		}
	}
	var roots []byte
	for _, c := range e.CA.Roots() {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	e.caFile = e.path("ca.pem")
	return os.WriteFile(e.caFile, roots, 0o600)
}

// RotateSVIDs gives every workload a new SVID now, gateways and mayflyd included.
func (e *Env) RotateSVIDs() { e.api.Rotate() }

// RootsFile is a PEM file of the roots of every certificate that people see.
func (e *Env) RootsFile() string { return e.caFile }

// KeyFile is the record's public key, as mayflyd init made it.
func (e *Env) KeyFile() string { return e.keyFile }

// Roots returns the roots of every certificate that people see.
func (e *Env) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range e.CA.Roots() {
		pool.AddCert(c)
	}
	return pool
}

func (e *Env) publicTLS() *tls.Config {
	return &tls.Config{RootCAs: e.Roots(), MinVersion: tls.VersionTLS12}
}

// NodesAddress is host:port of mayflyd's door for gateways.
func (e *Env) NodesAddress() string { return e.nodes }

// WorkloadsAddress is host:port of mayflyd's door for workloads.
func (e *Env) WorkloadsAddress() string { return strings.TrimPrefix(e.workloads, "https://") }
