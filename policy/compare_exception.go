package policy

import "time"

// exceptions compares what is excused, and until when. One that is over denies what it
// excused: so that there is one more gives nobody anything by itself, and that there is
// one less may.
func (c *comparing) exceptions() {
	in := func(s *Set) map[string]Exception {
		out := map[string]Exception{}
		for _, x := range s.exceptions {
			out[string(x.Allows)+" for "+x.Entitlement+x.App] = x
		}
		return out
	}
	was, now := in(c.before), in(c.after)
	for _, about := range both(was, now) {
		w, before := was[about]
		n, still := now[about]
		some := n
		if !still {
			some = w
		}
		a := at{c: c, what: "exception " + some.Name, file: some.File, line: some.Line}
		switch {
		case !before:
			a.says("%s is excused until %s: %s", about, n.Until.Format(time.RFC3339), n.Reason)
			continue
		case still:
		case c.after.has(w):
			a.line = 0 // it stands there no more
			a.differs("%s is not excused any more, and is not denied when that ends: was until %s", about, w.Until.Format(time.RFC3339))
			continue
		default:
			a.line = 0
			a.loses("%s is not excused any more", about)
			continue
		}
		switch {
		case n.Until.After(w.Until):
			a.gains("%s is excused until %s, was until %s", about, n.Until.Format(time.RFC3339), w.Until.Format(time.RFC3339))
		case n.Until.Before(w.Until):
			a.loses("%s is excused until %s, was until %s", about, n.Until.Format(time.RFC3339), w.Until.Format(time.RFC3339))
		}
		if w.Name != n.Name || w.Owner != n.Owner || w.Reason != n.Reason {
			a.says("%s: %s of %s: %s; was %s of %s: %s", about, n.Name, n.Owner, n.Reason, w.Name, w.Owner, w.Reason)
		}
		a.rest(restOfException(w), restOfException(n))
	}
}

// has reports whether what an exception is for is still there.
func (s *Set) has(x Exception) bool {
	_, entitlement := s.entitlements[x.Entitlement]
	_, app := s.apps[x.App]
	return entitlement || app
}

func restOfException(x Exception) Exception {
	x.File, x.Line, x.untilLine, x.untilColumn = "", 0, 0, 0 // where it stands
	x.Name, x.Owner, x.Allows, x.Entitlement, x.App, x.Reason, x.Until = "", "", "", "", "", "", time.Time{}
	return x
}
