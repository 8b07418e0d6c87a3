package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// MaxObserve is how far away the end of observe mode may be when its commit enters into
// force, for an app that a gateway in production fronts. Gateways have a cap of their own.
const MaxObserve = 30 * 24 * time.Hour

// Production reports whether the node is in production: as its sidecar's own SPIFFE ID
// says, which the gateway goes by, or as its environment is called.
func (n Node) Production() bool {
	return identity.Production(n.Sidecar) || n.Environment == "prod" || n.Environment == "production"
}

// Observation is that an app is in observe mode: requests to it are recorded with what
// would be decided, and not denied for want of a grant.
type Observation struct {
	App       string
	Owner     string    // of the exception, else of the app
	Until     time.Time // exclusive: from then on the app is enforced; zero: no end, and no gateway in production takes it
	Exception string    // that excuses it; "" outside production
}

// Over reports whether the app is enforced again at now.
func (o Observation) Over(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// Observed returns the observation of an app, also if it is over; false: the app is
// enforced.
func (s *Set) Observed(app string) (Observation, bool) {
	a, ok := s.apps[app]
	if !ok || !a.Observe {
		return Observation{}, false
	}
	o := Observation{App: app, Owner: a.Owner}
	if x, ok := s.Exception(ExcuseObserve, app); ok {
		o.Owner, o.Until, o.Exception = x.Owner, x.Until, x.Name
	}
	return o, true
}

// Observations returns what is observed at now, sorted by app.
func (s *Set) Observations(now time.Time) []Observation {
	var out []Observation
	for name := range s.apps {
		if o, ok := s.Observed(name); ok && !o.Over(now) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Observation) int { return strings.Compare(a.App, b.App) })
	return out
}

// readMode reports whether the app is in observe mode, which needs an exception
// wherever a gateway in production fronts it, or none is known to front it.
func (l *loader) readMode(n *node, app string) (observe bool) {
	if l.word(n, "mode", []string{"enforce", "observe"}, nil) != "observe" {
		return false
	}
	fronts := func(in func(Node) bool) bool {
		return slices.ContainsFunc(l.set.nodes, func(n Node) bool { return slices.Contains(n.Apps, app) && in(n) })
	}
	if fronts(Node.Production) || !fronts(func(Node) bool { return true }) {
		l.needsException(ExcuseObserve, app, n, "mode: %s denies nothing in observe mode, and a gateway in production may front it: say enforce", app)
	}
	return true
}

// tooLong says why an observation does not enter into force at now: its end is too far
// away.
func (x Exception) tooLong(now time.Time) bool {
	return x.Allows == ExcuseObserve && x.Until.Sub(now) > MaxObserve
}
