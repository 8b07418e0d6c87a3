package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/identity"
)

// The kinds of personal text. Their rows are all that PersonStore.Erase deletes
// besides the person's own.
const (
	textRequest  = "request"  // a request's reason
	textOffer    = "offer"    // an Offer's bytes
	textApproval = "approval" // an approver's reason
	textSession  = "session"  // name and e-mail of a session, JSON
	textLock     = "lock"     // why somebody is locked, by the lock's target
)

// putText keeps a personal text of p; an empty one is forgotten.
func (t *tx) putText(ctx context.Context, kind, id string, p identity.Principal, body []byte) error {
	if len(body) == 0 {
		_, err := t.exec(ctx, `DELETE FROM texts WHERE kind = ? AND id = ?`, kind, id)
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO texts (kind, id, principal, body) VALUES (?, ?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body`, kind, id, p.String(), body)
	return err
}
