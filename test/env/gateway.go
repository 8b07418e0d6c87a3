package env

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// Gateway is one sidecar with its Envoy.
type Gateway struct {
	Name    string
	Address string // host:port of the services listener
	People  string // host:port of the people listener; the port is every gateway's
	Clients string // host:port of the clients listener, likewise
	Process *Process
	health  string
}

// StartGateway starts a sidecar process with a state of its own, under the SVID
// that all gateways share, and waits until it decides. More lines of its
// configuration may be given, such as "spool_bytes: 1048576".
func (e *Env) StartGateway(ctx context.Context, name string, more ...string) (*Gateway, error) {
	g, err := e.addGateway(name, more)
	if err != nil {
		return nil, err
	}
	return g, e.RestartGateway(ctx, g)
}

// RestartGateway starts a gateway that has ended, and waits until it decides.
func (e *Env) RestartGateway(ctx context.Context, g *Gateway) error {
	if err := g.Process.Start(); err != nil {
		return err
	}
	if err := e.awaitReady(ctx, g.Process, "http://"+g.health); err != nil {
		return err
	}
	if err := awaitPort(ctx, g.Address); err != nil {
		return err
	}
	return awaitPort(ctx, g.People)
}

func (e *Env) addGateway(name string, more []string) (*Gateway, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	health, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	e.doors++
	people := fmt.Sprintf("127.0.0.%d:%s", 1+e.doors, e.people)
	clients := fmt.Sprintf("127.0.0.%d:%s", 1+e.doors, e.clients)
	dir := e.path(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for file, key := range map[string]string{"stripe-read.key": ReadKey, "stripe-refunds.key": RefundsKey} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(key+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	upstream := e.Stripe.address
	text := fmt.Sprintf(`control_plane: {address: %q, id: %q}
identity:
  workload_api: %q
  sidecar: {id: %q}
  listener: {id: %q}
trust_domains: [%s]
%srecord: {key: %q}
run_dir: run
state_dir: state
services: %q
health: %q
people: %q
clients: %q
certificates:
  - {hosts: [%s, %s, %s, %s], cert: ../wiki.crt, key: ../wiki.key}
envoy: {path: %q, concurrency: 1}
secrets:
  stripe-read: {file: stripe-read.key, apps: [stripe], hosts: [%q]}
  stripe-refunds: {file: stripe-refunds.key, apps: [stripe], hosts: [%q]}
send_action_id: true
`, cmp.Or(e.Via, e.nodes), ControlID, dev.Address(e.path("gw.sock")), SidecarID, ListenerID, e.trustDomains(), e.federation, e.keyFile, address, health, people, clients, WikiHost, BoardHost, ReportsHost, StripeHost, e.Envoy, upstream, upstream)
	for _, line := range append(slices.Clone(e.GatewayLines), more...) {
		text += line + "\n"
	}
	config := filepath.Join(dir, "sidecar.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	g := &Gateway{Name: name, Address: address, People: people, Clients: clients, health: health}
	g.Process = newProcess("mayfly-sidecar "+name, e.Dir, filepath.Join(dir, "sidecar.log"), os.Environ(),
		filepath.Join(e.Bin, "mayfly-sidecar"), "--dev", "--config", config)
	e.Gateways = append(e.Gateways, g)
	return g, nil
}

// ClientURL is where clients reach a path on a host of an app at every gateway.
func (e *Env) ClientURL(host, path string) string {
	return "https://" + net.JoinHostPort(host, e.clients) + path
}

// GatewayStatus is what a sidecar says of itself on its health port.
type GatewayStatus struct {
	Instance  string `json:"instance"`
	Ready     bool   `json:"ready"`
	Revision  int64  `json:"revision"`
	Grants    int    `json:"grants"`
	HeardAgo  string `json:"heard_ago"`
	Clock     string `json:"clock"`
	Record    string `json:"record"`     // trusted, or why not
	Entries   int64  `json:"checkpoint"` // of the record, as far as it has seen
	Unshipped uint64 `json:"unshipped_records"`
}

// Status asks the sidecar.
func (g *Gateway) Status(ctx context.Context) (GatewayStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.health+"/readyz", nil)
	if err != nil {
		return GatewayStatus{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return GatewayStatus{}, err
	}
	defer resp.Body.Close()
	var s GatewayStatus
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// Shipped waits until the gateway's whole record is with mayflyd.
func (g *Gateway) Shipped(ctx context.Context) error {
	return Eventually(ctx, g.Name+" ships its record", func() error {
		s, err := g.Status(ctx)
		if err == nil && s.Unshipped > 0 {
			err = fmt.Errorf("%d records wait", s.Unshipped)
		}
		return err
	})
}

// Retire stops a gateway that is not needed any more.
func (e *Env) Retire(g *Gateway) error {
	e.Gateways = slices.DeleteFunc(e.Gateways, func(o *Gateway) bool { return o == g })
	return g.Process.Stop()
}

// Envoy returns the process id of the gateway's Envoy, 0 if there is none.
func (g *Gateway) Envoy() (int, error) {
	children, err := g.Process.Children()
	if err != nil || len(children) == 0 {
		return 0, err
	}
	return children[0], nil
}

// awaitReady waits until a program says that it is ready, and fails at once if it ends.
func (e *Env) awaitReady(ctx context.Context, p *Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	err := Eventually(ctx, p.Name+" ready", func() error {
		select {
		case <-p.Ended():
			cancel()
			return fmt.Errorf("it ended")
		default:
		}
		resp, err := client.Get(url + "/readyz")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, tail(p.Log))
	}
	return nil
}

// tail returns the end of a log.
func tail(path string) string {
	const most = 2000
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}
