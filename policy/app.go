package policy

import (
	"net/url"
	"time"
)

// App is one protected app as policy declares it. Nobody changes it after Load.
type App struct {
	Name        string
	Kind        string
	Owner       string
	Hosts       []string // exact, lower case, each on one app only
	Callers     []string // services
	Upstream    *url.URL // scheme and host only
	Credentials []Credential
	StaleAfter  time.Duration // how old what a sidecar heard may be
	MaxStream   time.Duration // longest request, 0: the default of the data path
	Catalogue   string        // digest of the kind's catalogue at load
	File        string
	Line        int
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
