package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const day = int64(24 * time.Hour / time.Microsecond)

// seeded has one grant of an hour, two leaves, one segment, one decided request
// and one session on a host of an app, which was ended.
func seeded(t *testing.T) *Store {
	t.Helper()
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	p, err := identity.ParsePrincipal("user:idp:bob")
	if err != nil {
		t.Fatal(err)
	}
	m := grant.NewMinter()
	err = s.Update(t.Context(), func(tx access.Tx) error {
		r := access.Request{ID: m.NewRequestID(tx.Now()), Revision: 1, Requester: p, Beneficiary: p, State: access.Denied}
		if err := tx.Requests().Insert(t.Context(), r, nil); err != nil {
			return err
		}
		a := access.Approval{ID: m.NewApprovalID(tx.Now()), Request: r.ID, Revision: 1, Approver: p, Person: identity.PersonOf(p)}
		if err := tx.Approvals().Insert(t.Context(), a); err != nil {
			return err
		}
		for range 2 {
			if _, err := audit.Append(t.Context(), tx.Log(), audit.Record{ID: m.NewRecordID(tx.Now()).String(),
				Type: audit.TypeAdministration, Time: tx.Now(), Node: "mayflyd"}); err != nil {
				return err
			}
		}
		if err := tx.Spools().Append(t.Context(), access.StoredSegment{Spool: "spl", First: 1, Last: 2}); err != nil {
			return err
		}
		v := access.Session{ID: m.NewSessionID(tx.Now()), Kind: access.SessionApp, Hash: [32]byte{1}, App: "wiki", Host: "wiki.acme.example",
			Parent: m.NewSessionID(tx.Now()), Principal: p, CreatedAt: tx.Now(), EndsAt: tx.Now().Add(time.Hour), EndedAt: tx.Now()}
		if err := tx.Sessions().Insert(t.Context(), v); err != nil {
			return err
		}
		return tx.Grants().Insert(t.Context(), grant.Grant{ID: m.NewGrantID(tx.Now()), Request: r.ID, Principal: p,
			Scope:     scope.Scope{App: "stripe", Rules: []scope.Rule{{Operation: "refunds.create"}}},
			NotBefore: tx.Now(), NotAfter: tx.Now().Add(time.Hour), Revoked: tx.Now()}, nil, "cat")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// statement is SQL that somebody with the file could run.
type statement struct {
	name, sql string
	want      string // part of the refusal, empty: it is allowed
}

// attempt runs the statements, and looks afterwards whether any grant is wrong.
func attempt(t *testing.T, all []statement) {
	t.Helper()
	s := seeded(t)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			err := raw(s, c.sql, day)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s\n = %v, want %q", c.sql, err, c.want)
			}
		})
	}
	var wrong int
	err := s.View(t.Context(), func(read access.Tx) error {
		return read.(*tx).one(t.Context(), `SELECT count(*) FROM grants
			WHERE coalesce(not_after - not_before, 0) NOT BETWEEN 1 AND ?`, []any{day}, &wrong)
	})
	if err != nil || wrong != 0 {
		t.Errorf("%d grants are without a proper end (%v)", wrong, err)
	}
}

// insertGrant copies the seeded grant with other columns.
func insertGrant(verb, id, notBefore, notAfter string) string {
	return verb + ` INTO grants SELECT ` + id + `, request, principal, pseudonym, entitlement, app, scope, class, ` +
		notBefore + `, ` + notAfter + `, revoked, finished, ended_early, params, catalogue, swept, idle_after, used FROM grants LIMIT ?1 * 0 + 1`
}

func TestP1_DatabaseRefusesAGrantWithoutAnEnd(t *testing.T) {
	const insert, id = `INSERT`, `'grt_x'`
	attempt(t, []statement{
		{"no end", insertGrant(insert, id, "not_before", "NULL"), "NOT NULL"},
		{"no beginning", insertGrant(insert, id, "NULL", "not_after"), "NOT NULL"},
		{"an end of 0", insertGrant(insert, id, "not_before", "0"), "CHECK"},
		{"a beginning of 0", insertGrant(insert, id, "0", "1"), "CHECK"},
		{"ends as it begins", insertGrant(insert, id, "not_before", "not_before"), "CHECK"},
		{"a microsecond too long", insertGrant(insert, id, "not_before", "not_before + ?1 + 1"), "CHECK"},
		{"an end so late that the difference overflows", insertGrant(insert, id, "not_before", "9223372036854775807"), "CHECK"},
		{"an end as text", insertGrant(insert, id, "not_before", "'never'"), "cannot store TEXT"},
		{"an end as a number with a point", insertGrant(insert, id, "not_before", "9e999"), "cannot store REAL"},
		{"the longest", insertGrant(insert, id, "not_before", "not_before + ?1"), ""},
		{"INSERT OR IGNORE of one without an end", insertGrant(`INSERT OR IGNORE`, `'grt_y'`, "not_before", "NULL"), ""},
	})
}

func TestP1_DatabaseRefusesToLengthenAGrant(t *testing.T) {
	const refusal = "what a grant says never changes"
	attempt(t, []statement{
		{"a later end", `UPDATE grants SET not_after = not_after + 1 + ?1 * 0`, refusal},
		{"an earlier end", `UPDATE grants SET not_after = not_after - 1 + ?1 * 0`, refusal},
		{"both ends", `UPDATE grants SET not_before = not_before + ?1, not_after = not_after + ?1`, refusal},
		{"another beginning", `UPDATE grants SET not_before = not_before - 1 + ?1 * 0`, refusal},
		{"another holder", `UPDATE grants SET principal = 'user:idp:carol' WHERE ?1`, refusal},
		{"a wider scope", `UPDATE grants SET scope = '{}' WHERE ?1`, refusal},
		{"another app", `UPDATE grants SET app = 'x' WHERE ?1`, refusal},
		{"a lower class", `UPDATE grants SET class = 'read' WHERE ?1`, refusal},
		{"other parameters", `UPDATE grants SET params = '{}' WHERE ?1`, refusal},
		{"UPDATE OR REPLACE", `UPDATE OR REPLACE grants SET not_after = not_after + 1 WHERE ?1`, refusal},
		{"INSERT OR REPLACE", insertGrant(`INSERT OR REPLACE`, "id", "not_before", "not_after + 1"), "never replaced"},
		{"upsert", insertGrant(`INSERT`, "id", "not_before", "not_after + 1") + ` ON CONFLICT (id) DO UPDATE SET not_after = excluded.not_after`, "never replaced"},
		{"taking the revocation back", `UPDATE grants SET revoked = 0 WHERE ?1`, "mark on a grant"},
		{"DELETE, to insert it again", `DELETE FROM grants WHERE ?1`, "never goes"},
		{"a mark", `UPDATE grants SET finished = not_before + 1 WHERE ?1`, ""},
	})
}

func TestP9_DatabaseRefusesToChangeTheRecord(t *testing.T) {
	attempt(t, []statement{
		{"change a leaf", `UPDATE leaves SET leaf = x'00' WHERE ?1`, "never changes"},
		{"cut the last leaf", `DELETE FROM leaves WHERE idx = 1 AND ?1`, "never goes"},
		{"replace a leaf", `INSERT OR REPLACE INTO leaves SELECT 1, x'00' WHERE ?1`, "not the next leaf"},
		{"leave a gap", `INSERT INTO leaves SELECT 3, x'00' WHERE ?1`, "not the next leaf"},
		{"change a hash", `UPDATE hashes SET hash = zeroblob(32) WHERE ?1`, "never changes"},
		{"cut a hash", `DELETE FROM hashes WHERE ?1`, "never goes"},
		{"replace a hash", `INSERT OR REPLACE INTO hashes SELECT 0, zeroblob(32) WHERE ?1`, "not the next hash"},
		{"a short hash", `INSERT INTO hashes SELECT max(idx) + 1, zeroblob(31) FROM hashes WHERE ?1`, "CHECK"},
		{"change a segment", `UPDATE segments SET frames = x'00' WHERE ?1`, "never changes"},
		{"cut a segment", `DELETE FROM segments WHERE ?1`, "never goes"},
		{"a segment after a gap", `INSERT INTO segments SELECT spool, 5, 6, sidecar, frames, root, chain_head, leaf FROM segments WHERE ?1`, "not the next segment"},
		{"replace a segment", `INSERT OR REPLACE INTO segments SELECT * FROM segments WHERE ?1`, "not the next segment"},
		{"replace a segment of another spool", `INSERT OR REPLACE INTO segments SELECT 'spl_other', 1, 1, sidecar, frames, root, chain_head, leaf FROM segments WHERE ?1`, "not the next segment"},
		{"change an approval", `UPDATE approvals SET approves = 1 WHERE ?1`, "never changes"},
		{"take an approval back", `DELETE FROM approvals WHERE ?1`, "never goes"},
		{"decide a request again", `UPDATE requests SET state = 'approved' WHERE ?1`, "only from pending"},
		{"turn the feed back", `UPDATE head SET revision = -1 WHERE ?1`, "never fall"},
		{"turn the clock back", `UPDATE head SET mark = mark - 1 WHERE ?1`, "never fall"},
		{"a second head", `INSERT INTO head (one, epoch, revision, mark, pruned_epoch, pruned_revision) SELECT 2, 1, 0, 0, 1, 0 WHERE ?1`, "CHECK"},
		{"no head", `DELETE FROM head WHERE ?1`, "stays"},
	})
}

func TestDatabaseRefusesToLengthenASession(t *testing.T) {
	const is = "what a session is never changes"
	attempt(t, []statement{
		{"a later end", `UPDATE sessions SET ends_at = ends_at + 1 WHERE ?1`, "never lengthened"},
		{"taking its end back", `UPDATE sessions SET ended_at = 0 WHERE ?1`, "the end of a session"},
		{"ending it again", `UPDATE sessions SET ended_at = ended_at + 1 WHERE ?1`, "the end of a session"},
		{"another secret", `UPDATE sessions SET hash = zeroblob(32) WHERE ?1`, is},
		{"another holder", `UPDATE sessions SET principal = 'user:idp:carol' WHERE ?1`, is},
		{"another app", `UPDATE sessions SET app = 'stripe' WHERE ?1`, is},
		{"another host", `UPDATE sessions SET host = 'stripe.acme.example' WHERE ?1`, is},
		{"another parent", `UPDATE sessions SET parent = 'ses_x' WHERE ?1`, is},
		{"at another door", `UPDATE sessions SET kind = 'console', app = '', host = '', parent = '' WHERE ?1`, is},
		{"INSERT OR REPLACE", `INSERT OR REPLACE INTO sessions SELECT * FROM sessions WHERE ?1`, "never replaced"},
		{"DELETE, to insert it again", `DELETE FROM sessions WHERE ?1`, "never goes"},
		{"swept", `UPDATE sessions SET swept = 1 WHERE ?1`, ""},
		{"not swept after all", `UPDATE sessions SET swept = 0 WHERE ?1`, "the end of a session"},
		{"an earlier end", `UPDATE sessions SET ends_at = ends_at - 1 WHERE ?1`, ""},
		{"newer groups", `UPDATE sessions SET groups = '[]' WHERE ?1`, ""},
	})
}

// A row that nobody of ours wrote must not become a grant that permits more.
func TestDamagedRowsAreErrors(t *testing.T) {
	for name, damage := range map[string]string{
		"a key in the scope that this binary does not know": `UPDATE grants SET scope = replace(scope, '"where"', '"unless":[],"where"')`,
		"a scope that is no JSON":                           `UPDATE grants SET scope = 'x'`,
		"a holder that is nobody's spelling":                `UPDATE grants SET principal = 'bob'`,
		"an id of another kind":                             `UPDATE grants SET id = replace(id, 'grt_', 'req_')`,
	} {
		t.Run(name, func(t *testing.T) {
			s := seeded(t)
			for _, sql := range []string{`DROP TRIGGER grants_update`, damage} {
				if err := raw(s, sql); err != nil {
					t.Fatal(err)
				}
			}
			err := s.View(t.Context(), func(tx access.Tx) error {
				list, err := tx.Grants().List(t.Context(), access.GrantFilter{})
				if err == nil {
					t.Errorf("read as %+v", list)
				}
				return nil
			})
			if err == nil {
				t.Error("the view's caller was not told")
			}
		})
	}
}
