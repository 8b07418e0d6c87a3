package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what a node or a policy may ask for.
const (
	DefaultMaxStream = 60 * time.Second // of a request to an app that names none
	MaxStreamCap     = 24 * time.Hour   // P1: the longest anything may last
	MaxBody          = 1 << 20          // bytes that ext_authz may be given (contracts §4)
	maxSocketPath    = 107              // sun_path, less its NUL
)

// App is one protected app as Envoy needs to know it.
type App struct {
	Name        string        // policy's name: a-z, 0-9 and -
	Kind        string        // decides only the shape of Envoy's own refusals
	Hosts       []string      // exact host names, lower case, each on one app only
	Hop         bool          // goes through the sidecar's hop, which adds the credential
	Upstream    *url.URL      // of a direct app: https, or http to a loopback address; nil with Hop
	HTTP2       bool          // the upstream of a direct app speaks HTTP/2, not HTTP/1.1
	BodyMethods []string      // methods whose body (at most MaxBody bytes) the decision needs
	MaxStream   time.Duration // longest request, 0 = DefaultMaxStream, with Guard MaxStreamCap
	Guard       bool          // the sidecar holds each stream of a direct app, and cuts it

	Services bool // workloads reach it, at the services listener
	People   bool // browsers reach it, at the people listener
	Clients  bool // programs with a DPoP key reach it, at the clients listener
	// IdentityHeaders tell an app with People about the person. Lower case, x-….
	// The sidecar sets them at the people door; a caller's own pass no door.
	IdentityHeaders []string
}

// Gateway is all that the configuration of one node is made from.
type Gateway struct {
	ServicesAddress netip.AddrPort // of the mTLS listener for workloads
	PeopleAddress   netip.AddrPort // of the listener for browsers; zero: none
	ClientsAddress  netip.AddrPort // of the listener for programs without a certificate; zero: none
	PeopleHosts     []string       // that the sidecar has certificates for; others get no chain, for people or clients
	RunDir          string         // absolute, clean; holds the sidecar's sockets
	TrustDomains    []string       // whose SVIDs may knock at all
	Apps            []App
}

func (g Gateway) check() error {
	if !g.ServicesAddress.IsValid() || g.ServicesAddress.Port() == 0 {
		return fmt.Errorf("services address %q: want IP:port", g.ServicesAddress)
	}
	if err := checkWeb(g.PeopleAddress, g.ClientsAddress, g.PeopleHosts); err != nil {
		return err
	}
	if g.PeopleAddress == g.ServicesAddress {
		return fmt.Errorf("people address %s: workloads are there already", g.PeopleAddress)
	}
	if g.ClientsAddress == g.ServicesAddress || g.ClientsAddress.IsValid() && g.ClientsAddress == g.PeopleAddress {
		return fmt.Errorf("clients address %s: others are there already", g.ClientsAddress)
	}
	if err := checkRunDir(g.RunDir); err != nil {
		return err
	}
	if len(g.TrustDomains) == 0 {
		return errors.New("no trust domain: nobody could call")
	}
	names, hosts := map[string]bool{}, map[string]string{}
	for _, a := range g.Apps {
		if err := a.check(); err != nil {
			return fmt.Errorf("app %q: %w", a.Name, err)
		}
		if names[a.Name] {
			return fmt.Errorf("app %q is there twice", a.Name)
		}
		names[a.Name] = true
		for _, h := range a.Hosts {
			if other, ok := hosts[h]; ok {
				return fmt.Errorf("host %q belongs to app %q and to app %q", h, other, a.Name)
			}
			hosts[h] = a.Name
		}
	}
	return nil
}

// checkWeb takes no address and no host, or an address.
func checkWeb(people, clients netip.AddrPort, hosts []string) error {
	for name, at := range map[string]netip.AddrPort{DoorPeople: people, DoorClients: clients} {
		if at != (netip.AddrPort{}) && (!at.IsValid() || at.Port() == 0) {
			return fmt.Errorf("%s address %q: want IP:port", name, at)
		}
	}
	if len(hosts) > 0 && people == clients { // both are none
		return errors.New("certificates for people or clients, and no people address and no clients address")
	}
	for _, h := range hosts {
		if !isHost(h) {
			return fmt.Errorf("people host %q: want an exact host name in lower case, without port", clip(h))
		}
	}
	return nil
}

// at returns the hosts under which a answers at a door of g, sorted.
func (g Gateway) at(door string, a App) []string {
	switch {
	case door == DoorServices && a.Services:
		return a.Hosts
	case door == DoorPeople && a.People && g.PeopleAddress.IsValid(), door == DoorClients && a.Clients && g.ClientsAddress.IsValid():
		return slices.DeleteFunc(slices.Clone(a.Hosts), func(h string) bool { return !slices.Contains(g.PeopleHosts, h) })
	default:
		return nil
	}
}

// Uncovered returns the hosts of apps that take people or clients which these cannot
// reach at g, because it has no certificate for them or no listener. Sorted.
func (g Gateway) Uncovered() []string {
	var out []string
	for _, a := range g.Apps {
		for door, takes := range map[string]bool{DoorPeople: a.People, DoorClients: a.Clients} {
			here := g.at(door, a)
			for _, h := range a.Hosts {
				if takes && !slices.Contains(here, h) {
					out = append(out, h)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func checkRunDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return fmt.Errorf("run directory %q: want an absolute, clean path", dir)
	}
	if longest := filepath.Join(dir, SocketSidecar); len(longest) > maxSocketPath {
		return fmt.Errorf("run directory %q: %s is longer than the %d bytes of a socket path", dir, longest, maxSocketPath)
	}
	return nil
}

func (a App) check() error {
	if !isLabel(a.Name) {
		return errors.New("a name is 1 to 63 of a-z, 0-9 and -")
	}
	if len(a.Hosts) == 0 {
		return errors.New("no host")
	}
	for _, h := range a.Hosts {
		if !isHost(h) {
			return fmt.Errorf("host %q: want an exact host name in lower case, without port", h)
		}
	}
	if a.MaxStream < 0 || a.MaxStream > MaxStreamCap {
		return fmt.Errorf("longest request %s: want at most %s", a.MaxStream, MaxStreamCap)
	}
	for _, m := range a.BodyMethods {
		if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, m) {
			return fmt.Errorf("method %q has no body to decide on", m)
		}
	}
	if !a.Services && !a.People && !a.Clients {
		return errors.New("neither services nor people nor clients may call")
	}
	if len(a.IdentityHeaders) > 0 && !a.People {
		return errors.New("headers about a person, and people may not call")
	}
	for i, h := range a.IdentityHeaders {
		if !isIdentityHeader(h) || slices.Contains(a.IdentityHeaders[:i], h) {
			return fmt.Errorf("identity header %q: want x-… in lower case, once, and none that has another meaning here", h)
		}
	}
	if a.Hop && a.Guard {
		return errors.New("the hop cuts its own requests, and needs no guard")
	}
	if a.Hop && a.HTTP2 {
		return errors.New("the hop is reached by HTTP/1.1")
	}
	if a.Hop != (a.Upstream == nil) {
		return errors.New("an app goes either through the hop or to an upstream")
	}
	if a.Hop {
		return nil
	}
	_, err := endpointOf(a.Upstream)
	return err
}

func (a App) maxStream() time.Duration {
	switch {
	case a.MaxStream == 0 && a.Guard:
		return MaxStreamCap
	case a.MaxStream == 0:
		return DefaultMaxStream
	}
	return a.MaxStream
}

func (a App) cluster() string {
	if a.Hop {
		return clusterHop
	}
	return clusterAppPrefix + a.Name
}

// endpoint is where a direct app is.
type endpoint struct {
	host string // IP address or host name
	port uint32
	ip   bool
	tls  bool
}

// endpointOf reads the upstream of a direct app. Plain http is taken to a
// loopback address only: on any other way somebody could read and answer for the app.
func endpointOf(u *url.URL) (endpoint, error) {
	refuse := func(why string) (endpoint, error) {
		return endpoint{}, fmt.Errorf("upstream %q: %s", u.Redacted(), why)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") || u.Opaque != "" {
		return refuse("want scheme://host[:port] and nothing else")
	}
	e := endpoint{host: u.Hostname(), tls: u.Scheme == "https"}
	addr, err := netip.ParseAddr(e.host)
	e.ip = err == nil
	switch {
	case !e.ip && !isHost(e.host):
		return refuse("want an IP address or a host name in lower case")
	case u.Scheme == "https":
		e.port = 443
	case u.Scheme != "http":
		return refuse("want https or http")
	case !e.ip || !addr.IsLoopback():
		return refuse("plain http goes to a loopback address only")
	default:
		e.port = 80
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return refuse("bad port")
		}
		e.port = uint32(n)
	}
	return e, nil
}

// isIdentityHeader takes x-…, except what Mayfly, Envoy or proxies write and read.
func isIdentityHeader(s string) bool {
	taken := func(prefix string) bool { return strings.HasPrefix(s, prefix) }
	return isLabel(s) && strings.HasPrefix(s, "x-") && !slices.ContainsFunc(strippedPrefixes(), taken) &&
		!slices.Contains(strippedHeaders(), s) && s != "x-request-id"
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return s[0] != '-' && s[len(s)-1] != '-'
}

func isHost(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}
