package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/test/env"
)

// seedBatch is how many grants one transaction writes.
const seedBatch = 5000

// seed writes n live grants of the app reports into mayflyd's database while it is
// stopped: as rows only, without the requests and leaves that asking makes, which
// no instance is told.
func seed(ctx context.Context, e *env.Env, n int) error {
	if err := e.Control.Stop(); err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(e.Dir, "data", "mayfly.db")})
	if err != nil {
		return err
	}
	ids := grant.NewMinter()
	for done := 0; done < n; done += seedBatch {
		err := store.Update(ctx, func(tx access.Tx) error {
			for i := done; i < min(done+seedBatch, n); i++ {
				g, params, err := seeded(ids, i, tx.Now())
				if err != nil {
					return err
				}
				if err := tx.Grants().Insert(ctx, g, params, "load"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			_ = store.Close()
			return err
		}
	}
	if err := store.Close(); err != nil {
		return err
	}
	return e.StartControl(ctx)
}

// seeded returns the grant of that number, an hour long.
func seeded(ids *grant.Minter, n int, now time.Time) (grant.Grant, map[string]string, error) {
	folder := fmt.Sprintf("/daily/%d", n)
	who, err := identity.ParsePrincipal(fmt.Sprintf("spiffe://%s/ns/pay/sa/worker-%d", env.TrustDomain, n%100_000))
	if err != nil {
		return grant.Grant{}, nil, err
	}
	path, err := scope.ParseValue(scope.TypePath, folder)
	if err != nil {
		return grant.Grant{}, nil, err
	}
	return grant.Grant{
		ID: ids.NewGrantID(now), Principal: who, Pseudonym: fmt.Sprintf("p_%032d", n%100_000), Entitlement: "reports/read",
		Scope: scope.Scope{App: "reports", Rules: []scope.Rule{{Operation: "http.get", Where: []scope.Constraint{
			{Attribute: "path", Comparison: scope.Under, Values: []scope.Value{path}},
		}}}},
		Class: scope.ClassRead, NotBefore: now, NotAfter: now.Add(time.Hour),
	}, map[string]string{"folder": folder}, nil
}
