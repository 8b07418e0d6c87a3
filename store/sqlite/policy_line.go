package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

func (s policies) Enter(ctx context.Context, e access.PolicyEntry) error {
	_, err := s.t.exec(ctx, `INSERT INTO policy_entries (digest, commit_id, signers, authors, at, at_passed, how) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		e.Digest, e.Commit, object{orEmpty(e.Signers)}, object{orEmpty(e.Authors)}, micros(e.At), e.Passed.Microseconds(), string(e.How))
	return about(err, "policy %s enters into force", e.Digest)
}

func (s policies) Entries(ctx context.Context, after time.Time) ([]access.PolicyEntry, error) {
	return s.entries(ctx, `at > ?`, micros(after))
}

func (s policies) EntriesSince(ctx context.Context, passed time.Duration, after time.Time) ([]access.PolicyEntry, error) {
	return s.entries(ctx, `at_passed > max(?, 0) OR at_passed = 0 AND at > ?`, passed.Microseconds(), micros(after))
}

func (s policies) entries(ctx context.Context, which string, args ...any) ([]access.PolicyEntry, error) {
	read := func(r row) (e access.PolicyEntry, err error) {
		return e, r.Scan(&e.Digest, &e.Commit, asObject(&e.Signers), asObject(&e.Authors), asTime(&e.At), asDuration(&e.Passed), &e.How)
	}
	out, err := list(ctx, s.t, read, `SELECT digest, commit_id, signers, authors, at, at_passed, how FROM policy_entries WHERE `+which+` ORDER BY seq`, args...)
	return out, about(err, "list policies that entered into force")
}

func (s policies) AddDropped(ctx context.Context, digest string) error {
	_, err := s.t.exec(ctx, `INSERT INTO policy_dropped (digest) VALUES (?) ON CONFLICT DO NOTHING`, digest)
	return about(err, "policy %s is the last with something", digest)
}

func (s policies) Dropped(ctx context.Context) ([]string, error) {
	read := func(r row) (digest string, err error) { return digest, r.Scan(&digest) }
	out, err := list(ctx, s.t, read, `SELECT digest FROM policy_dropped ORDER BY digest`)
	return out, about(err, "list policies after which something was gone")
}

func (s policies) Settling(ctx context.Context) ([]access.SettlingCommit, error) {
	read := func(r row) (c access.SettlingCommit, err error) {
		return c, r.Scan(&c.Commit, &c.Digest, asObject(&c.Signers), asTime(&c.Seen), asDuration(&c.Due))
	}
	out, err := list(ctx, s.t, read, `SELECT commit_id, digest, signers, seen, due_passed FROM policy_settling ORDER BY seen, rowid`)
	return out, about(err, "list commits that settle")
}

func (s policies) AddSettling(ctx context.Context, c access.SettlingCommit) error {
	_, err := s.t.exec(ctx, `INSERT INTO policy_settling (commit_id, digest, signers, seen, due_passed) VALUES (?, ?, ?, ?, ?)`,
		c.Commit, c.Digest, object{orEmpty(c.Signers)}, micros(c.Seen), c.Due.Microseconds())
	return about(err, "commit %s settles", c.Commit)
}

// DropSettling forgets the files too, if no policy that was in force has them.
func (s policies) DropSettling(ctx context.Context, commit string) error {
	_, err := s.t.exec(ctx, `DELETE FROM policy_settling WHERE commit_id = ?`, commit)
	if err != nil {
		return about(err, "commit %s settles no more", commit)
	}
	const idle = `applied = 0 AND digest NOT IN (SELECT digest FROM policy_settling UNION SELECT digest FROM policy_entries UNION SELECT digest FROM policy_dropped UNION SELECT digest FROM policy_hold)`
	if _, err := s.t.exec(ctx, `DELETE FROM policy_files WHERE policy IN (SELECT digest FROM policies WHERE `+idle+`)`); err != nil {
		return about(err, "commit %s settles no more", commit)
	}
	_, err = s.t.exec(ctx, `DELETE FROM policies WHERE `+idle)
	return about(err, "commit %s settles no more", commit)
}

func (s policies) Hold(ctx context.Context, confirmed bool) (h access.PolicyHold, err error) {
	err = s.t.one(ctx, `SELECT commit_id, digest, length, proposed_by, under, proposed_at, until_passed, confirmed_by, confirmed_at, back_commit, back_digest FROM policy_hold WHERE confirmed = ?`, []any{confirmed},
		&h.Commit, &h.Digest, asDuration(&h.Length), asText(&h.ProposedBy), asText(&h.Under), asTime(&h.ProposedAt), asDuration(&h.Until), asText(&h.ConfirmedBy), asTime(&h.ConfirmedAt), &h.BackCommit, &h.BackDigest)
	return h, about(err, "read the hold of policy")
}

func (s policies) SetHold(ctx context.Context, h access.PolicyHold) error {
	_, err := s.t.exec(ctx, `INSERT OR REPLACE INTO policy_hold
		(confirmed, commit_id, digest, length, proposed_by, under, proposed_at, until_passed, confirmed_by, confirmed_at, back_commit, back_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		!h.ConfirmedBy.IsZero(), h.Commit, h.Digest, h.Length.Microseconds(), h.ProposedBy.String(), h.Under.String(), micros(h.ProposedAt), h.Until.Microseconds(), h.ConfirmedBy.String(), micros(h.ConfirmedAt), h.BackCommit, h.BackDigest)
	return about(err, "hold policy at %s", h.Commit)
}

func (s policies) DropHold(ctx context.Context, confirmed bool) error {
	_, err := s.t.exec(ctx, `DELETE FROM policy_hold WHERE confirmed = ?`, confirmed)
	return about(err, "hold policy no more")
}

func (s policies) Watch(ctx context.Context) (access.PolicyWatch, error) {
	read := func(r row) (w access.PolicyWatch, err error) {
		return w, r.Scan(asTime(&w.At), &w.Tip, asTime(&w.Failed), asObject(&w.Refused))
	}
	out, err := list(ctx, s.t, read, `SELECT at, tip, failed, refused FROM policy_watch`)
	if err != nil || len(out) == 0 {
		return access.PolicyWatch{}, about(err, "read what was seen of the policy repository")
	}
	return out[0], nil
}

func (s policies) SetWatch(ctx context.Context, w access.PolicyWatch) error {
	_, err := s.t.exec(ctx, `INSERT OR REPLACE INTO policy_watch (one, at, tip, failed, refused) VALUES (1, ?, ?, ?, ?)`,
		micros(w.At), w.Tip, micros(w.Failed), object{w.Refused})
	return about(err, "note what was seen of the policy repository")
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
