package proxy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

const (
	maxStale         = 5 * time.Minute // contracts §2: compiled in, whatever the feed says
	defaultMaxStream = feed.DefaultMaxStream
)

// App is a protected app as the feed tells it. It is never changed once it is in
// the table.
type App struct {
	Name        string
	Kind        string
	Hosts       []string // lower case, without port
	Upstream    *url.URL // scheme and host
	StaleAfter  time.Duration
	MaxStream   time.Duration // the longest that a direct request may last
	Guard       bool          // its streams are held, and cut when the access ends
	Catalogue   string        // digest that the grants were expanded against
	Credentials []Credential
	Asks        []Ask
	Callers     []string // the doors that it answers at; none told: services
	Console     string   // https URL where people log in and ask, no slash at its end; of an app that takes people
	Identity    []IdentityHeader
	Assert      bool              // it is told in a signed token who calls
	StepUp      map[string]StepUp // by entitlement
	Here        *Place            // what of it counts at this gateway; nil: all of it
	Observe     *Observation      // nil: it is enforced

	places  []*feed.Place // as told, for the digest
	sidecar string        // whose place Here is
}

// StepUp is what an entitlement asks of a person's login (RFC 9470).
type StepUp struct {
	ACR    []string      // one of these; none: any
	MaxAge time.Duration // since the person showed up at the provider; 0: any
}

// The doors at which requests come, as routes, apps and policy write them.
const (
	DoorServices = "services"
	DoorPeople   = "people"
	DoorClients  = "clients"
)

// Takes reports whether the app answers at a door.
func (a *App) Takes(door string) bool {
	if len(a.Callers) == 0 {
		return door == DoorServices
	}
	return slices.Contains(a.Callers, door)
}

// longest is how long a request may last. Before the route has the guard hold it, one
// to a guarded app may last no longer than any other that nothing cuts.
func (a *App) longest(guarded bool) time.Duration {
	if a.Guard && !guarded {
		return min(a.MaxStream, defaultMaxStream)
	}
	return a.MaxStream
}

// IdentityHeader is a header in which the app is told one fact about the person
// who calls. No caller's own reaches it, at any door.
type IdentityHeader struct {
	Header string // lower case
	Fact   string
}

// The facts that an app may be told.
const (
	factPrincipal = "principal"
	factPerson    = "person"
	factName      = "name"
	factEmail     = "email"
	factGroups    = "groups"
)

// Credential names the secret that operations are done with.
type Credential struct {
	Operations []string
	Secret     string
}

// Ask is an entitlement that covers some of the app's operations.
type Ask struct {
	Entitlement string
	Operations  []string
	Bindings    []Binding
	Required    []string
	Kinds       []string // of principals that may ask at all
}

// Binding says which parameter bounds an attribute of an operation.
type Binding struct {
	Operation, Attribute, Op, Param string
}

// Secret returns the name of the secret that an operation is done with.
func (a *App) Secret(operation string) (name string, ok bool) {
	for _, c := range a.Credentials {
		if slices.Contains(c.Operations, operation) {
			return c.Secret, true
		}
	}
	return "", false
}

// covering returns the entitlement with the fewest operations, then the smallest
// name, that covers an operation and that such a principal may ask for.
func (a *App) covering(operation string, kind identity.Kind) (Ask, bool) {
	var best Ask
	found := false
	for _, ask := range a.Asks {
		if !slices.Contains(ask.Operations, operation) || !slices.Contains(ask.Kinds, kind.String()) {
			continue
		}
		if n, m := len(ask.Operations), len(best.Operations); !found || n < m || n == m && ask.Entitlement < best.Entitlement {
			best, found = ask, true
		}
	}
	return best, found
}

// newApp reads what the feed says; an error says why the app may not be held.
func newApp(r *feed.Resource) (*App, error) {
	m := r.GetApp()
	a := &App{
		Name: m.GetName(), Kind: m.GetKind(), Hosts: slices.Clone(m.GetHosts()), Catalogue: m.GetCatalogue(),
		StaleAfter: time.Duration(m.GetStaleAfterUs()) * time.Microsecond,
		MaxStream:  time.Duration(m.GetMaxStreamUs()) * time.Microsecond,
		Callers:    slices.Clone(m.GetCallers()), Console: m.GetConsole(), Assert: m.GetAssert(), Guard: m.GetGuard(),
	}
	if a.MaxStream == 0 {
		a.MaxStream = defaultMaxStream
		if a.Guard {
			a.MaxStream = grant.MaxTerm
		}
	}
	if o := m.GetObserve(); o != nil {
		a.Observe = &Observation{Until: feed.TimeOf(o.GetUntilUs())}
	}
	upstream, err := readUpstream(m.GetUpstream())
	if err != nil {
		return nil, err
	}
	a.Upstream = upstream
	for _, c := range m.GetCredentials() {
		a.Credentials = append(a.Credentials, Credential{slices.Clone(c.GetOperations()), c.GetSecret()})
	}
	for _, ask := range m.GetAsks() {
		a.Asks = append(a.Asks, newAsk(ask))
	}
	for _, h := range m.GetIdentity() {
		a.Identity = append(a.Identity, IdentityHeader{h.GetHeader(), h.GetFact()})
	}
	return a, errors.Join(a.check(r.GetId()), a.checkCallers(), a.readStepUp(m.GetStepUp()))
}

// readStepUp reads what is asked of logins; the same entitlement twice would leave
// open which counts.
func (a *App) readStepUp(all []*feed.StepUp) error {
	for _, m := range all {
		s := StepUp{ACR: slices.Clone(m.GetAcr()), MaxAge: time.Duration(m.GetMaxAgeUs()) * time.Microsecond}
		if _, twice := a.StepUp[m.GetEntitlement()]; twice || m.GetEntitlement() == "" || s.MaxAge < 0 || s.MaxAge == 0 && len(s.ACR) == 0 {
			return fmt.Errorf("step_up of %q is not whole, or there twice", m.GetEntitlement())
		}
		if a.StepUp == nil {
			a.StepUp = map[string]StepUp{}
		}
		a.StepUp[m.GetEntitlement()] = s
	}
	if a.Assert && len(a.Credentials) > 0 {
		return errors.New("an app with a credential is told of nobody")
	}
	if a.Guard && len(a.Credentials) > 0 {
		return errors.New("the streams of an app with a credential are cut by the hop")
	}
	return nil
}

func newAsk(m *feed.Ask) Ask {
	ask := Ask{
		Entitlement: m.GetEntitlement(), Operations: slices.Clone(m.GetOperations()),
		Required: slices.Clone(m.GetRequired()), Kinds: slices.Clone(m.GetKinds()),
	}
	for _, b := range m.GetBindings() {
		ask.Bindings = append(ask.Bindings, Binding{b.GetOperation(), b.GetAttribute(), b.GetOp(), b.GetParam()})
	}
	return ask
}

func readUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q: want http or https, and a host", s)
	}
	return u, nil
}

func (a *App) check(id string) error {
	switch {
	case a.Name == "" || a.Kind == "" || len(a.Hosts) == 0:
		return fmt.Errorf("app %q is not whole", a.Name)
	case id != a.Name:
		return fmt.Errorf("app %q under the id %q", a.Name, id)
	case a.StaleAfter <= 0 || a.StaleAfter > maxStale:
		return fmt.Errorf("stale_after of %s: want at most %s", a.StaleAfter, maxStale)
	case a.MaxStream < 0:
		return fmt.Errorf("max_stream of %s", a.MaxStream)
	}
	for _, h := range a.Hosts {
		if !plainHost(h) {
			return fmt.Errorf("host %q: want lower case, without port", h)
		}
	}
	return nil
}

// checkCallers checks what an app says about the people that it takes. It has no
// credential: the hop asks for no session.
func (a *App) checkCallers() error {
	for _, c := range a.Callers {
		if c != DoorServices && c != DoorPeople && c != DoorClients {
			return fmt.Errorf("callers %q are not known", c)
		}
	}
	if !a.Takes(DoorPeople) {
		if len(a.Identity) > 0 {
			return errors.New("it is told of people, and takes none")
		}
		return nil
	}
	if len(a.Credentials) > 0 {
		return errors.New("an app with a credential takes no people")
	}
	if err := checkOrigin(a.Console); err != nil {
		return fmt.Errorf("console %w", err)
	}
	for i, h := range a.Identity {
		if err := h.check(); err != nil {
			return err
		}
		if slices.ContainsFunc(a.Identity[:i], func(o IdentityHeader) bool { return o.Header == h.Header }) {
			return fmt.Errorf("the header %s is there twice", h.Header)
		}
	}
	return nil
}

// checkOrigin refuses what is not the https URL of a host alone.
func checkOrigin(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || text != "https://"+u.Host {
		return fmt.Errorf("%q: want https and a host, and no more", text)
	}
	return nil
}

// check refuses a header that has a meaning to us, to Envoy or in HTTP, and a fact
// that is not known.
func (h IdentityHeader) check() error {
	if len(h.Header) > 64 || !strings.HasPrefix(h.Header, "x-") || strings.Trim(h.Header, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("the identity header %q: want lower case that begins with x-", h.Header)
	}
	for _, taken := range [...]string{"x-mayfly-", "x-envoy-", "x-forwarded-"} {
		if strings.HasPrefix(h.Header, taken) {
			return fmt.Errorf("the identity header %q is not an app's", h.Header)
		}
	}
	switch h.Fact {
	case factPrincipal, factPerson, factName, factEmail, factGroups:
		return nil
	}
	return fmt.Errorf("the fact %q is not known", h.Fact)
}
