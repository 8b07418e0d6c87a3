package env

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/tokens"
)

// loopbackPort is where a command would wait for the browser. Nobody listens: the
// code is read from where the browser would go.
const loopbackPort = "20000"

// Person logs in as one of the provider's users, such as bob, the way mayfly login
// does, and returns a client with that session.
func (e *Env) Person(ctx context.Context, who string) (*api.Client, error) {
	secret, key, err := e.Secret(ctx, who)
	if err != nil {
		return nil, err
	}
	return e.Client(secret, key)
}

// Client returns a client with the secret of a session and the key that it is bound to.
func (e *Env) Client(secret string, key tokens.Prover) (*api.Client, error) {
	client, err := e.browserClient()
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.ClientConfig{Server: e.Public, HTTP: client, Session: secret, Prover: key})
}

// Secret is Person that returns the secret of the session and its key: what whoever
// reads the command's file has.
func (e *Env) Secret(ctx context.Context, who string) (string, tokens.Prover, error) {
	client, err := e.browserClient()
	if err != nil {
		return "", tokens.Prover{}, err
	}
	return e.login(ctx, client, who)
}

func (e *Env) browserClient() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: e.publicTLS(), ForceAttemptHTTP2: true, DialContext: e.ownDialer().DialContext},
	}, nil
}

func (e *Env) login(ctx context.Context, client *http.Client, who string) (secret string, key tokens.Prover, err error) {
	if key, err = tokens.NewProver(); err != nil {
		return "", tokens.Prover{}, err
	}
	const redirect = "http://127.0.0.1:" + loopbackPort + "/callback"
	verifier, state := random(), random()
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	q := url.Values{
		"idp": {"idp"}, "response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {redirect}, "state": {state},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	callback, err := dev.Login(ctx, client, e.Public+api.AuthorizePath+"?"+q.Encode(), who)
	if err != nil {
		return "", tokens.Prover{}, err
	}
	code, err := codeOf(ctx, client, callback, state, api.LoginCode(state, challenge, ""))
	if err != nil {
		return "", tokens.Prover{}, fmt.Errorf("login as %s: %w", who, err)
	}
	plain, err := api.NewClient(api.ClientConfig{Server: e.Public, HTTP: client, Prover: key})
	if err != nil {
		return "", tokens.Prover{}, err
	}
	made, err := plain.Token(ctx, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect},
	})
	if err != nil {
		return "", tokens.Prover{}, fmt.Errorf("login as %s: %w", who, err)
	}
	return made.AccessToken, key, nil
}

// codeOf lets mayflyd finish the login and returns the code that it sends to the
// command's port, once the person has pressed Continue.
func codeOf(ctx context.Context, client *http.Client, callback, state, shown string) (string, error) {
	address, err := dev.Confirm(ctx, client, callback, shown)
	if err != nil {
		return "", err
	}
	to, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	q := to.Query()
	if to.Host != "127.0.0.1:"+loopbackPort || q.Get("state") != state || q.Get("code") == "" {
		return "", fmt.Errorf("mayflyd sends the browser to %s", to)
	}
	return q.Get("code"), nil
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// WorkloadAPIClient returns a client of mayflyd's door for workloads, with the
// SVID of the Workload API socket of that name, such as refunder. It lasts until
// the environment is closed.
func (e *Env) WorkloadAPIClient(ctx context.Context, name string) (*api.Client, error) {
	source, err := spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: dev.Address(e.path(name + ".sock"))})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = source.Run(run)
	}()
	e.atClose(func() { stop(); <-done })
	if err := source.Wait(ctx); err != nil {
		return nil, err
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: source.Bundles, TrustDomains: []spiffeid.TrustDomain{e.CA.TrustDomain()}})
	if err != nil {
		return nil, err
	}
	control, err := spiffeid.FromString(ControlID)
	if err != nil {
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: source, Verifier: verifier, Authorize: spiffe.Only(control), NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: config}
	e.atClose(transport.CloseIdleConnections)
	return api.NewClient(api.ClientConfig{Server: e.workloads, HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second}})
}

// Grant asks for access and, if policy waits for people, approves it as approver,
// who has shown the Offer to nobody. It returns the live grant.
func (e *Env) Grant(ctx context.Context, asker, approver *api.Client, ask api.Ask) (api.Grant, error) {
	r, err := asker.Request(ctx, ask, api.NewKey())
	if err != nil {
		return api.Grant{}, err
	}
	if r.State == "pending" {
		shown, err := approver.ShowRequest(ctx, r.ID)
		if err != nil {
			return api.Grant{}, err
		}
		if r, err = approver.Approve(ctx, r.ID, api.Verdict{OfferSHA256: shown.Offer.SHA256}); err != nil {
			return api.Grant{}, err
		}
	}
	if r.State != "approved" {
		return api.Grant{}, fmt.Errorf("%s is %s: %s (%s)", r.ID, r.State, r.Sentence, r.Code)
	}
	return asker.ShowGrant(ctx, r.Grant)
}
