package policy

import "strings"

// bundle compares a bundle. It gives nobody what each entitlement would not give them
// alone, but one approval may stand for several then: another one counts as one that
// widens.
func (c *comparing) bundle(name string) {
	was, before := c.before.bundles[name]
	now, still := c.after.bundles[name]
	some := now
	if !still {
		some = was
	}
	a := at{c: c, what: "bundle " + name, file: some.File, line: some.Line}
	switch {
	case !before:
		a.gains("new: %s are asked for, granted and ended as one", strings.Join(now.Entitlements, ", "))
		return
	case !still:
		a.line = 0
		a.loses("gone: %s are asked for one by one", strings.Join(was.Entitlements, ", "))
		return
	}
	if strings.Join(was.Entitlements, ",") != strings.Join(now.Entitlements, ",") {
		a.differs("entitlements: %s, was %s", strings.Join(now.Entitlements, ", "), strings.Join(was.Entitlements, ", "))
	}
	if was.Owner != now.Owner {
		a.says("owner: %s, was %s", now.Owner, was.Owner)
	}
	a.rest(restOfBundle(was), restOfBundle(now))
}

func restOfBundle(b Bundle) Bundle {
	b.File, b.Line, b.Tests = "", 0, nil // where it stands, and what is tried
	b.Name, b.Owner, b.Entitlements = "", "", nil
	return b
}
