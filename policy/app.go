package policy

import (
	"net/url"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// App is one protected app as policy declares it. Nobody changes it after Load.
type App struct {
	Name        string
	Kind        string
	Owner       string
	Hosts       []string // exact, lower case, each on one app only
	Callers     []string // services, people, clients: the doors that it answers at
	Upstream    *url.URL // scheme and host only
	HTTP2       bool     // the upstream speaks HTTP/2, as gRPC asks for, and no HTTP/1.1
	Credentials []Credential
	Identity    []IdentityHeader // what it is told about a person, sorted by header
	Assert      bool             // it is told in a signed token who calls, and under which grant
	StaleAfter  time.Duration    // how old what a sidecar heard may be
	MaxStream   time.Duration    // longest request, 0: the default of the data path
	Guard       bool             // a stream goes on while the access lasts, and is cut when it ends
	// Workload is the SPIFFE ID with which the app itself calls others. Zero: it
	// passes no access on, whatever onward: says.
	Workload  identity.Principal
	Catalogue string // digest of the kind's catalogue at load
	File      string
	Line      int

	// Observe is whether it is in observe mode, unless that is over: see Set.Observed.
	Observe bool

	Environments []string // where it is; none: wherever a node fronts it
}

// Credential names the secret that some operations are done with. What file or
// path the name means is only in the sidecar's own configuration.
type Credential struct {
	Patterns   []string // as written
	Operations []string // expanded, sorted
	Secret     string
}

// Direct reports whether the app is reached without a credential.
func (a App) Direct() bool { return len(a.Credentials) == 0 }

// IdentityHeader is a header in which the app is told one fact about the person
// who calls. No caller's own reaches the app, at any door.
type IdentityHeader struct {
	Header string // lower case
	Fact   string // one of Facts
}

// Facts are what an app may be told about a person: the account, the person that
// policy makes of it, and as the provider told them name, verified address and
// groups.
func Facts() []string { return []string{"principal", "person", "name", "email", "groups"} }

// Resource is the URI that tokens for the app name as their audience (RFC 8707):
// https:// and its first host.
func (a App) Resource() string {
	if len(a.Hosts) == 0 {
		return ""
	}
	return "https://" + a.Hosts[0]
}

// TakesPeople reports whether people reach the app with a browser.
func (a App) TakesPeople() bool { return slices.Contains(a.Callers, CallersPeople) }

// The words under callers:.
const (
	CallersServices = "services"
	CallersPeople   = "people"
	CallersClients  = "clients"
)
