package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/process"
)

// callerFile is where the configuration of the role caller is if --config says nothing.
const callerFile = "/etc/mayfly/caller.yaml"

// callerConfig is the one YAML file of mayfly-sidecar caller. Unknown keys are
// errors. Each field is explained in docs/configuration.md, which a test holds
// against it.
type callerConfig struct {
	Identity  callerIdentity   `yaml:"identity"`
	Gateway   callerGateway    `yaml:"gateway"`
	Listeners []callerListener `yaml:"listeners"`
}

// callerIdentity is the workload's: from the Workload API by its ID, or from files.
type callerIdentity struct {
	WorkloadAPI string `yaml:"workload_api"`
	ID          string `yaml:"id"`
	Cert        string `yaml:"cert"`
	Key         string `yaml:"key"`
	Bundle      string `yaml:"bundle"`
}

func (i callerIdentity) svid() svidConfig {
	return svidConfig{ID: i.ID, Cert: i.Cert, Key: i.Key, Bundle: i.Bundle}
}

type callerGateway struct {
	Address string   `yaml:"address"`
	IDs     []string `yaml:"ids"`
}

// callerListener is one way in, for one host of one app.
type callerListener struct {
	Host    string         `yaml:"host"`
	Kind    string         `yaml:"kind"`
	Address netip.AddrPort `yaml:"address"`
	Socket  string         `yaml:"socket"`
	KeyFile string         `yaml:"key_file"`
}

// loadCaller reads path and checks what can be checked without starting anything.
// Relative paths in it are relative to its folder.
func loadCaller(path string) (callerConfig, error) {
	var c callerConfig
	if err := process.ReadConfig(path, &c); err != nil {
		return callerConfig{}, err
	}
	c.resolve(filepath.Dir(path))
	if err := c.check(); err != nil {
		return callerConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *callerConfig) resolve(dir string) {
	paths := []*string{&c.Identity.Cert, &c.Identity.Key, &c.Identity.Bundle}
	for i := range c.Listeners {
		paths = append(paths, &c.Listeners[i].Socket, &c.Listeners[i].KeyFile)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(abs, *p)
		}
	}
}

func (c *callerConfig) check() error {
	var errs []error
	if err := c.Identity.svid().check(c.Identity.WorkloadAPI); err != nil {
		errs = append(errs, fmt.Errorf("identity: %w", err))
	}
	if _, _, err := net.SplitHostPort(c.Gateway.Address); err != nil {
		errs = append(errs, errors.New("gateway.address: want host:port of a gateway's listener for workloads"))
	}
	if _, err := c.Gateway.identities(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Listeners) == 0 {
		errs = append(errs, errors.New("listeners: want at least one"))
	}
	taken := map[string]string{}
	for i, l := range c.Listeners {
		at := fmt.Sprintf("listeners[%d]", i)
		if err := l.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s.%w", at, err))
		}
		for _, place := range l.places() {
			if other, ok := taken[place]; ok {
				errs = append(errs, fmt.Errorf("%s: %s is that of %s already", at, place, other))
			}
			taken[place] = at
		}
	}
	return errors.Join(errs...)
}

func (g callerGateway) identities() ([]spiffeid.ID, error) {
	var out []spiffeid.ID
	for _, text := range g.IDs {
		id, err := spiffeid.FromString(text)
		if err != nil || id.Path() == "" {
			return nil, fmt.Errorf("gateway.ids: %q is not the SPIFFE ID of a gateway", text)
		}
		out = append(out, id)
	}
	if len(out) == 0 {
		return nil, errors.New("gateway.ids: want the SPIFFE IDs of the gateways: anybody could answer otherwise")
	}
	return out, nil
}

func (l callerListener) check() error {
	host := regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	_, known := kindOf(l.Kind)
	switch {
	case !host.MatchString(l.Host):
		return fmt.Errorf("host: %q, want the app's host, an exact DNS name in lower case, without port", l.Host)
	case known != nil:
		return known
	case l.Address.IsValid() == (l.Socket != ""):
		return errors.New("address: want an address or a socket, one of the two")
	case l.Address.IsValid() && (!l.Address.Addr().IsLoopback() || l.Address.Port() == 0):
		return fmt.Errorf("address: %s, want a loopback address with a port", l.Address)
	case l.Address.IsValid() && l.KeyFile == "":
		return errors.New("key_file: want a file for the key: everybody on this machine reaches the address")
	}
	return nil
}

// places are what no two listeners share.
func (l callerListener) places() []string {
	var out []string
	for _, p := range []string{l.Socket, l.KeyFile} {
		if p != "" {
			out = append(out, p)
		}
	}
	if l.Address.IsValid() {
		out = append(out, l.Address.String())
	}
	return out
}
