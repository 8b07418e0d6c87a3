package proxy

import (
	"slices"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// Place is what of an app counts at one gateway. The zero value takes no workload.
type Place struct {
	Environment    string
	AnyTrustDomain bool
	TrustDomains   []string // whose workloads may call
	Elsewhere      []string // entitlements that do not count
}

// takes reports whether a caller may call the app here at all.
func (a *App) takes(p identity.Principal) bool {
	return a.Here == nil || p.Kind() != identity.KindWorkload || a.Here.AnyTrustDomain || slices.Contains(a.Here.TrustDomains, p.TrustDomain())
}

// counts reports whether grants of an entitlement count here.
func (a *App) counts(entitlement string) bool {
	return a == nil || a.Here == nil || !slices.Contains(a.Here.Elsewhere, entitlement)
}

// placeOf reads what counts at the gateway of a sidecar: nothing where others have a
// place and it has none.
func placeOf(list []*feed.Place, sidecar string) *Place {
	if len(list) == 0 {
		return nil
	}
	for _, p := range list {
		if p.GetSidecar() == sidecar {
			return &Place{p.GetEnvironment(), p.GetAnyTrustDomain(), slices.Clone(p.GetTrustDomains()), slices.Clone(p.GetElsewhere())}
		}
	}
	return &Place{}
}

// countsHere refuses a workload whose trust domain policy does not list for the
// environment of this gateway, whatever proved it.
func (c *Checker) countsHere(v *ruling) error {
	if v.app.takes(v.caller.principal) {
		return nil
	}
	return grant.Deny(grant.BadCertificate, "the caller's certificate was refused: workloads of trust domain %s do not count here", v.caller.principal.TrustDomain())
}
