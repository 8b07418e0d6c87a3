package sqlite

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

type policies struct{ t *tx }

func (s policies) Current(ctx context.Context) (access.StoredPolicy, error) {
	digest, _, err := s.Head(ctx)
	if err != nil {
		return access.StoredPolicy{}, err
	}
	return s.ByDigest(ctx, digest)
}

func (s policies) Head(ctx context.Context) (digest, commit string, err error) {
	err = s.t.one(ctx, `SELECT p.digest, p.commit_id FROM head h JOIN policies p ON p.digest = h.policy`, nil, &digest, &commit)
	return digest, commit, about(err, "read the policy in force")
}

func (s policies) ByDigest(ctx context.Context, digest string) (access.StoredPolicy, error) {
	p := access.StoredPolicy{Files: map[string][]byte{}}
	err := s.t.one(ctx, `SELECT digest, commit_id, signer, applied, manifest FROM policies WHERE digest = ?`, []any{digest},
		&p.Digest, &p.Commit, &p.Signer, asTime(&p.Applied), &p.Manifest)
	if err != nil {
		return access.StoredPolicy{}, about(err, "read policy %s", digest)
	}
	if len(p.Manifest) == 0 {
		p.Manifest = nil
	}
	read := func(r row) (struct{}, error) {
		var path string
		var body []byte
		err := r.Scan(&path, &body)
		p.Files[path] = blob(body)
		return struct{}{}, err
	}
	if _, err := list(ctx, s.t, read, `SELECT path, body FROM policy_files WHERE policy = ?`, digest); err != nil {
		return access.StoredPolicy{}, about(err, "read policy %s", digest)
	}
	return p, nil
}

// Keep keeps the files of a digest that is there: decisions were made from them,
// and the digest says that they are the same.
func (s policies) Keep(ctx context.Context, p access.StoredPolicy) error {
	_, err := s.t.exec(ctx, `INSERT INTO policies (digest, commit_id, signer, applied, manifest) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (digest) DO UPDATE SET manifest = CASE WHEN length(policies.manifest) > 0 THEN policies.manifest ELSE excluded.manifest END`,
		p.Digest, p.Commit, p.Signer, micros(time.Time{}), blob(p.Manifest))
	if err != nil {
		return about(err, "keep policy %s", p.Digest)
	}
	for _, path := range slices.Sorted(maps.Keys(p.Files)) {
		_, err := s.t.exec(ctx, `INSERT INTO policy_files (policy, path, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			p.Digest, path, blob(p.Files[path]))
		if err != nil {
			return about(err, "keep policy %s: %s", p.Digest, path)
		}
	}
	return nil
}

func (s policies) Apply(ctx context.Context, p access.StoredPolicy) error {
	if err := s.Keep(ctx, p); err != nil {
		return err
	}
	err := s.t.change(ctx, `UPDATE policies SET commit_id = ?, signer = ?, applied = ? WHERE digest = ?`, p.Commit, p.Signer, micros(p.Applied), p.Digest)
	if err != nil {
		return about(err, "apply policy %s", p.Digest)
	}
	return about(s.t.change(ctx, `UPDATE head SET policy = ?`, p.Digest), "apply policy %s", p.Digest)
}

func (s policies) Versions(ctx context.Context, path string) ([]access.FileVersion, error) {
	read := func(r row) (v access.FileVersion, err error) {
		var there bool
		err = r.Scan(&v.Digest, &v.Commit, asObject(&v.Signers), asTime(&v.At), &v.How, &there, &v.Body)
		if v.Body = blob(v.Body); !there {
			v.Body = nil
		}
		return v, err
	}
	out, err := list(ctx, s.t, read, `SELECT e.digest, e.commit_id, e.signers, e.at, e.how, f.body IS NOT NULL, coalesce(f.body, x'')
		FROM policy_entries e LEFT JOIN policy_files f ON f.policy = e.digest AND f.path = ? ORDER BY e.seq`, path)
	return out, about(err, "versions of %s", path)
}
