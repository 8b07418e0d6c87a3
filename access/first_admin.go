package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// FirstAdministratorEntitlement is what the first administrator's grant is said
// to be of. No policy holds it, and nobody can ask for it.
const FirstAdministratorEntitlement = "mayfly/first-administrator"

// firstAdministratorPlace finds the leaf that says that there was one.
const firstAdministratorPlace = "first-administrator"

// firstAdministrator is the body of the leaf administration that a first
// administrator was made.
type firstAdministrator struct {
	Operation string     `json:"operation"`
	Grant     string     `json:"grant"`
	Principal string     `json:"principal"` // pseudonym
	NotAfter  audit.Time `json:"not_after"`
}

// FirstAdministrator gives an account all of Mayfly's own operations, for at most
// 24 h, once in the life of a database: what mayflyd's disk says at its first
// start. made is false if there was one before, and nothing has changed.
func (s *Service) FirstAdministrator(ctx context.Context, who identity.Principal, life time.Duration) (made bool, err error) {
	if who.Kind() != identity.KindUser {
		return false, fault(CodeNotAPerson, "", "the first administrator is an account such as user:idp:3f1c7a52")
	}
	rules, err := allOwn()
	if err != nil {
		return false, err
	}
	err = s.update(ctx, func(w *work) error {
		made = false
		before, err := w.tx.Spools().Find(ctx, firstAdministratorPlace)
		if err != nil || len(before) > 0 {
			return err
		}
		name, err := w.pseudonym(ctx, who)
		if err != nil {
			return err
		}
		from := w.now.Truncate(time.Microsecond)
		g := grant.Grant{
			ID: w.minter.NewGrantID(w.now), Principal: who, Pseudonym: name, Entitlement: FirstAdministratorEntitlement,
			Scope: rules, Class: scope.ClassAdmin, NotBefore: from, NotAfter: from.Add(life),
		}
		if err := g.Check(); err != nil {
			return fault(CodeInvalid, "", "the first administrator's time is 1s to %s", grant.MaxTerm)
		}
		if err := w.tx.Grants().Insert(ctx, g, map[string]string{}, ""); err != nil {
			return fmt.Errorf("grant: %w", err)
		}
		made = true
		return w.tellOfFirst(ctx, g, name)
	})
	return made && err == nil, err
}

// tellOfFirst writes the two leaves: that there is a grant, and where it is from.
func (w *work) tellOfFirst(ctx context.Context, g grant.Grant, name string) error {
	created := grantCreated{GrantCreated: createdOf(g), Entitlement: g.Entitlement}
	if _, err := w.leaf(ctx, audit.TypeGrantCreated, g.ID.String(), created, g.ID.String()); err != nil {
		return err
	}
	body := firstAdministrator{Operation: firstAdministratorPlace, Grant: g.ID.String(), Principal: name, NotAfter: audit.At(g.NotAfter)}
	_, err := w.leaf(ctx, audit.TypeAdministration, g.ID.String(), body, g.ID.String(), firstAdministratorPlace)
	return err
}

// allOwn is the scope of every operation of Mayfly's own app.
func allOwn() (scope.Scope, error) {
	catalogue, err := policy.OwnCatalogue()
	if err != nil {
		return scope.Scope{}, err
	}
	out := scope.Scope{App: policy.OwnApp}
	for _, spec := range catalogue.Specs() {
		out.Rules = append(out.Rules, scope.Rule{Operation: spec.Name})
	}
	return out.Canonical(), nil
}
