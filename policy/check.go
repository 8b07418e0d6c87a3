package policy

import "slices"

// crossCheck checks what needs every file to be read.
func (l *loader) crossCheck() {
	l.checkNodeApps()
	l.checkDomains()
	for _, a := range l.set.Apps() {
		l.file = a.File
		l.checkUpstreamLoop(a)
	}
	for _, e := range l.set.Entitlements() {
		l.file = e.File
		a, ok := l.set.apps[e.App]
		if !ok {
			continue
		}
		l.checkStale(e, a)
		l.checkWhere(e)
		l.checkSecrets(e, a)
	}
	l.checkUndercuts()
	l.checkExceptions()
	delete(l.set.apps, "") // an app without a name was reported
}

// checkUpstreamLoop refuses an app whose upstream is a protected host: a request
// would come back with the gateway's credential on it.
func (l *loader) checkUpstreamLoop(a App) {
	if a.Upstream == nil {
		return
	}
	if other, ok := l.set.hosts[a.Upstream.Hostname()]; ok {
		l.failAt(a.Line, 1, CodeValue, "upstream: %s is the protected host of app %s: requests would go round", a.Upstream.Hostname(), other)
	}
}

func (l *loader) checkStale(e *Entitlement, a App) {
	if e.Class.Acknowledged() && a.StaleAfter > maxStaleStrict {
		l.failAt(e.Line, 1, CodeCap, "%s is %s, and app %s has stale_after %s: want at most %s", e.Name, e.Class, a.Name, durationText(a.StaleAfter), durationText(maxStaleStrict))
	}
}

// checkSecrets refuses an entitlement to do what the app has no secret for.
func (l *loader) checkSecrets(e *Entitlement, a App) {
	if a.Direct() {
		return
	}
	for _, name := range e.Operations() {
		if !slices.ContainsFunc(a.Credentials, func(c Credential) bool { return slices.Contains(c.Operations, name) }) {
			l.failAt(e.Line, 1, CodeConstraint, "%s allows %s, for which app %s names no credential", e.Name, name, a.Name)
			return
		}
	}
}
