package sqlite

import "context"

type proofs struct{ t *tx }

func (s proofs) Put(ctx context.Context, commit, app string, body []byte) error {
	_, err := s.t.exec(ctx, `INSERT INTO policy_proofs (commit_id, app, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, commit, app, blob(body))
	return about(err, "keep the proof of commit %s", commit)
}

func (s proofs) Get(ctx context.Context, commit, app string) (body []byte, err error) {
	err = s.t.one(ctx, `SELECT body FROM policy_proofs WHERE commit_id = ? AND app = ?`, []any{commit, app}, &body)
	return body, about(err, "proof of commit %s", commit)
}
