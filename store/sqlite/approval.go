package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
)

type approvals struct{ t *tx }

func (s approvals) Insert(ctx context.Context, a access.Approval) error {
	signature, err := a.Signature.Encode()
	if err != nil {
		return about(err, "insert approval of request %s", a.Request)
	}
	_, err = s.t.exec(ctx, `INSERT INTO approvals (id, request, revision, step, approver, person, offer_digest, approves, at, signature)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.ID.String(), a.Request.String(), a.Revision, a.Step,
		a.Approver.String(), a.Person.String(), a.OfferDigest, a.Approves, micros(a.At), blob(signature))
	if err == nil {
		err = s.t.putText(ctx, textApproval, a.ID.String(), a.Approver, []byte(a.Reason))
	}
	return about(err, "insert approval of request %s", a.Request)
}

func (s approvals) List(ctx context.Context, id grant.RequestID) ([]access.Approval, error) {
	read := func(r row) (a access.Approval, err error) {
		return a, r.Scan(asText(&a.ID), asText(&a.Request), &a.Revision, &a.Step, asText(&a.Approver),
			parsed(&a.Person, identity.ParsePerson), &a.OfferDigest, &a.Approves, asTime(&a.At), &a.Reason, parsedBlob(&a.Signature, proof.ParseSignature))
	}
	out, err := list(ctx, s.t, read, `SELECT id, request, revision, step, approver, person, offer_digest, approves, at,
		coalesce((SELECT body FROM texts WHERE kind = ? AND texts.id = approvals.id), x''), signature
		FROM approvals WHERE request = ? ORDER BY at, id`, textApproval, id.String())
	return out, about(err, "list approvals of request %s", id)
}
