package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

type grants struct{ t *tx }

const (
	grantColumns = `id, request, principal, pseudonym, entitlement, app, scope, class, not_before, not_after,
		revoked, finished, ended_early, idle_after`
	selectGrant    = `SELECT ` + grantColumns + ` FROM grants `
	selectFedGrant = `SELECT ` + grantColumns + `, params, catalogue FROM grants `
)

func grantFields(g *grant.Grant, app *string) []any {
	return []any{asText(&g.ID), ifText(&g.Request), asText(&g.Principal), &g.Pseudonym, &g.Entitlement, app,
		asScope(&g.Scope), asText(&g.Class), asTime(&g.NotBefore), asTime(&g.NotAfter),
		asTime(&g.Revoked), asTime(&g.Finished), &g.EndedEarly, asDuration(&g.IdleAfter)}
}

func readGrant(r row) (g grant.Grant, err error) {
	var app string
	return g, r.Scan(grantFields(&g, &app)...)
}

func readFedGrant(r row) (g access.FedGrant, err error) {
	var app string
	return g, r.Scan(append(grantFields(&g.Grant, &app), asParams(&g.Params), &g.Catalogue)...)
}

// Insert refuses what Grant.Check refuses, before the database does (P1).
func (s grants) Insert(ctx context.Context, g grant.Grant, params map[string]string, catalogue string) error {
	if err := g.Check(); err != nil {
		return about(err, "insert grant")
	}
	_, err := s.t.exec(ctx, `INSERT INTO grants (`+grantColumns+`, params, catalogue, used, swept) VALUES (`+marks(17)+`, 0)`,
		g.ID.String(), nullable(g.Request.String()), g.Principal.String(), g.Pseudonym, g.Entitlement, g.Scope.App,
		object{g.Scope}, g.Class.String(), micros(g.NotBefore), micros(g.NotAfter),
		micros(g.Revoked), micros(g.Finished), string(g.EndedEarly), g.IdleAfter.Microseconds(), object{params}, catalogue, micros(g.NotBefore))
	return about(err, "insert grant %s", g.ID)
}

func (s grants) Get(ctx context.Context, id grant.GrantID) (grant.Grant, error) {
	g, err := single(ctx, s.t, readGrant, selectGrant+`WHERE id = ?`, id.String())
	return g, about(err, "grant %s", id)
}

func (s grants) Fed(ctx context.Context, id grant.GrantID) (g grant.Grant, params map[string]string, catalogue string, err error) {
	fed, err := single(ctx, s.t, readFedGrant, selectFedGrant+`WHERE id = ?`, id.String())
	return fed.Grant, fed.Params, fed.Catalogue, about(err, "grant %s", id)
}

func (s grants) List(ctx context.Context, f access.GrantFilter) ([]grant.Grant, error) {
	query, args := grantsOf(f)
	out, err := list(ctx, s.t, readGrant, selectGrant+query, args...)
	return out, about(err, "list grants")
}

func (s grants) OfRequest(ctx context.Context, id grant.RequestID) ([]grant.Grant, error) {
	out, err := list(ctx, s.t, readGrant, selectGrant+`WHERE request = ? ORDER BY id`, id.String())
	return out, about(err, "grants of request %s", id)
}

func (s grants) ListFed(ctx context.Context, f access.GrantFilter) ([]access.FedGrant, error) {
	query, args := grantsOf(f)
	out, err := list(ctx, s.t, readFedGrant, selectFedGrant+query, args...)
	return out, about(err, "list grants")
}

// grantsOf returns what follows a SELECT of the grants that f filters.
func grantsOf(f access.GrantFilter) (query string, args []any) {
	var w where
	w.equal("principal", f.Principal.String())
	w.equal("app", f.App)
	w.equal("entitlement", f.Entitlement)
	w.before(f.Before.String())
	if f.LiveAt.IsZero() && !f.Fed {
		return w.page(f.Limit), w.args
	}
	w.and(openGrant)
	if !f.LiveAt.IsZero() {
		w.and("not_after > ?", micros(f.LiveAt))
	}
	return "INDEXED BY " + openIndex(f) + " " + w.page(f.Limit), w.args
}

// openGrant is true of grants of which no end is on record: few of all that ever were.
const openGrant = "revoked = 0 AND finished = 0 AND swept = 0"

// openIndex has the open grants in the order of a page, so that each page reads only
// its own rows. Without the hint SQLite walks all grants that ever were.
func openIndex(f access.GrantFilter) string {
	switch {
	case !f.Principal.IsZero():
		return "grants_open_by_principal"
	case f.App != "":
		return "grants_fed"
	default:
		return "grants_open"
	}
}

// MarkRevoked sets the mark once; a second revoke leaves the first as it is.
func (s grants) MarkRevoked(ctx context.Context, id grant.GrantID, at time.Time, why grant.Reason) error {
	err := s.t.change(ctx, `UPDATE grants SET ended_early = CASE revoked WHEN 0 THEN ?1 ELSE ended_early END,
		revoked = CASE revoked WHEN 0 THEN ?2 ELSE revoked END WHERE id = ?3`, string(why), micros(at), id.String())
	return about(err, "mark grant %s revoked", id)
}

// MarkFinished sets the mark once.
func (s grants) MarkFinished(ctx context.Context, id grant.GrantID, at time.Time) error {
	err := s.t.change(ctx, `UPDATE grants SET finished = CASE finished WHEN 0 THEN ?1 ELSE finished END WHERE id = ?2`,
		micros(at), id.String())
	return about(err, "mark grant %s finished", id)
}

// Unswept leaves out marked grants: the verb that marked one put it on record.
func (s grants) Unswept(ctx context.Context, now time.Time, limit int) ([]grant.Grant, error) {
	out, err := list(ctx, s.t, readGrant, selectGrant+`
		WHERE revoked = 0 AND finished = 0 AND swept = 0 AND not_after <= ? ORDER BY not_after, id LIMIT ?`, micros(now), limitOf(limit))
	return out, about(err, "list grants to sweep")
}

func (s grants) MarkSwept(ctx context.Context, id grant.GrantID) error {
	return about(s.t.change(ctx, `UPDATE grants SET swept = 1 WHERE id = ?`, id.String()), "mark grant %s swept", id)
}

// Used never moves back: records of several gateways come in any order.
func (s grants) Used(ctx context.Context, id grant.GrantID, at time.Time) error {
	err := s.t.change(ctx, `UPDATE grants SET used = max(used, ?1) WHERE id = ?2`, micros(at), id.String())
	return about(err, "use of grant %s", id)
}

func (s grants) UsedAll(ctx context.Context, uses map[grant.GrantID]time.Time) error {
	rows := make([][2]any, 0, len(uses))
	for id, at := range uses {
		rows = append(rows, [2]any{id.String(), micros(at)})
	}
	_, err := s.t.exec(ctx, `UPDATE grants SET used = told.at FROM (SELECT value ->> 0 AS id, value ->> 1 AS at FROM json_each(?)) AS told
		WHERE grants.id = told.id AND grants.used < told.at`, object{rows})
	return about(err, "use of %d grants", len(uses))
}

func (s grants) Idle(ctx context.Context, now time.Time, limit int) ([]grant.Grant, error) {
	out, err := list(ctx, s.t, readGrant, selectGrant+`INDEXED BY grants_idle
		WHERE idle_after > 0 AND revoked = 0 AND finished = 0 AND not_after > ?1 AND used + idle_after <= ?1 AND not_before <= ?1
			AND NOT EXISTS (SELECT 1 FROM grants AS other WHERE other.request = grants.request AND other.id <> grants.id
				AND other.revoked = 0 AND other.finished = 0 AND other.used + grants.idle_after > ?1)
		ORDER BY used + idle_after, id LIMIT ?2`, micros(now), limitOf(limit))
	return out, about(err, "list idle grants")
}

func (s grants) LastUse(ctx context.Context, id grant.GrantID) (at time.Time, err error) {
	err = s.t.one(ctx, `SELECT used FROM grants WHERE id = ?`, []any{id.String()}, asTime(&at))
	return at, about(err, "last use of grant %s", id)
}
