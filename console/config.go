package console

import (
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// EnvoyStatus is how far the Envoy of one instance has come.
type EnvoyStatus struct {
	Connected bool
	Nack      string   // newest refusal of a configuration, or why it was not sent; empty: none
	Uncovered []string // hosts for people that it has no certificate for
}

// Config is what a Console is made of. Fields without a default are required.
type Config struct {
	Service *access.Service
	// EnvoyStatus tells of Envoys by instance; nil: nothing is known of them.
	EnvoyStatus func() map[string]EnvoyStatus
	// Origin is the https URL of the public door, without a path.
	Origin string
	// PeoplePort is the port under which people reach the hosts of apps. Zero: 443.
	PeoplePort uint16
	// Dev says on every page that unsigned policy is accepted.
	Dev bool
	// Now is the time for what only the console does; nil is time.Now. What pages
	// show of access is by the store's clock.
	Now func() time.Time
	Log *slog.Logger // nil: none
}

// Console renders pages. It is safe for concurrent use.
type Console struct {
	c         Config
	service   *access.Service
	templates map[string]*template.Template
	assets    assets
	streams   streams
	beat      time.Duration // between signs of life of /events
	gap       time.Duration // between two events of one stream, at least
}

// New checks c, parses the templates, and returns a Console.
func New(c Config) (*Console, error) {
	if c.Service == nil {
		return nil, errors.New("console: no service")
	}
	u, err := url.Parse(c.Origin)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("console: origin %q: want https://host[:port]", c.Origin)
	}
	c.Origin = u.Scheme + "://" + strings.ToLower(u.Host)
	if c.PeoplePort == 0 {
		c.PeoplePort = 443
	}
	if c.EnvoyStatus == nil {
		c.EnvoyStatus = func() map[string]EnvoyStatus { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	out := &Console{c: c, service: c.Service, beat: 15 * time.Second, gap: time.Second}
	if out.assets, err = readAssets(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if out.templates, err = parse(out.assets); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return out, nil
}

// Handler returns the pages: everything of the public door that is not server's.
func (c *Console) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /assets/{name}", c.asset)
	m.HandleFunc("GET /events", c.events)
	for pattern, f := range map[string]action{
		"/{$}":           c.home,
		"/ask":           c.ask,
		"/waiting":       c.waiting,
		"/requests/{id}": c.showRequest,
		"/grants/{id}":   c.showGrant,
		"/trace":         c.findTrace,
		"/trace/{id}":    c.trace,
		"/explain/{id}":  c.explain,
		"/nodes":         c.nodes,
		"/workloads":     c.workloads,
		"/passkey":       c.showPasskey,
	} {
		m.HandleFunc("GET "+pattern, c.get(f))
	}
	for pattern, f := range map[string]formAction{
		"/ask":                    c.postAsk,
		"/requests/{id}/decide":   c.decide,
		"/requests/{id}/withdraw": c.withdraw,
		"/grants/{id}/finish":     c.finish,
		"/grants/{id}/revoke":     c.revoke,
		"/passkey":                c.makePasskey,
	} {
		m.HandleFunc("POST "+pattern, c.post(f))
	}
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { c.refuse(w, r, nil, noRoute()) })
	return c.guard(m)
}
