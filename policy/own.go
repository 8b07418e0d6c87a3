package policy

import (
	"github.com/mayflyproxy/mayfly/scope"
)

// OwnApp is the app whose operations are Mayfly's own verbs. It is in every
// policy without a file, no gateway fronts it, and mayflyd itself decides about
// it: entitlements on it are asked for like any other.
const OwnApp = "mayfly"

// The operations of OwnApp.
const (
	OwnTracesRead       = "traces.read"       // read what others did under their grants
	OwnGrantsRevoke     = "grants.revoke"     // end others' grants
	OwnPrincipalsLock   = "principals.lock"   // end all that somebody holds, and grant them nothing more
	OwnPrincipalsUnlock = "principals.unlock" // take a lock off
	OwnNodesQuarantine  = "nodes.quarantine"  // tell a gateway nothing more: it denies when its lease runs out
	OwnNodesRelease     = "nodes.release"     // take it back
	OwnPolicyHold       = "policy.hold"       // keep policy where it was, with a second person
	OwnPolicyPlan       = "policy.plan"       // read what another policy would do, to whom
)

// The attributes of those operations. All are texts, and all are there.
const (
	OwnAttributeApp         = "app"         // that the grant is on
	OwnAttributeEntitlement = "entitlement" // that the grant is of
	OwnAttributePrincipal   = "principal"   // whose grant it is, or who is locked
	OwnAttributeNode        = "node"        // SPIFFE ID of the sidecar
)

// OwnCatalogue returns the catalogue of OwnApp.
func OwnCatalogue() (*scope.Catalogue, error) {
	spec := func(name string, class scope.Class, attributes ...string) scope.Spec {
		s := scope.Spec{Name: name, Class: class}
		for _, a := range attributes {
			s.Attributes = append(s.Attributes, scope.AttributeSpec{Name: a, Type: scope.TypeString, Required: true, Recordable: a != OwnAttributePrincipal})
		}
		return s
	}
	return scope.NewCatalogue([]scope.Spec{
		spec(OwnTracesRead, scope.ClassSecret, OwnAttributeApp, OwnAttributePrincipal),
		spec(OwnGrantsRevoke, scope.ClassAdmin, OwnAttributeApp, OwnAttributeEntitlement, OwnAttributePrincipal),
		spec(OwnPrincipalsLock, scope.ClassAdmin, OwnAttributePrincipal),
		spec(OwnPrincipalsUnlock, scope.ClassAdmin, OwnAttributePrincipal),
		spec(OwnNodesQuarantine, scope.ClassAdmin, OwnAttributeNode),
		spec(OwnNodesRelease, scope.ClassAdmin, OwnAttributeNode),
		spec(OwnPolicyHold, scope.ClassAdmin),
		spec(OwnPolicyPlan, scope.ClassRead),
	})
}

// addOwnApp puts OwnApp into the set, as if it had a file.
func (l *loader) addOwnApp() {
	cat, err := OwnCatalogue()
	if err != nil {
		l.failAt(0, 0, CodeFile, "the app %s: %v", OwnApp, err)
		return
	}
	l.set.catalogues[OwnApp] = cat
	l.set.apps[OwnApp] = App{Name: OwnApp, Kind: OwnApp, Owner: OwnApp, StaleAfter: defaultStale, Catalogue: cat.Digest()}
}
