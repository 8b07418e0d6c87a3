package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

type requests struct{ t *tx }

const (
	requestColumns = `id, revision, requester, requester_person, beneficiary, entitlement, app, params, duration,
		state, code, sentence, policy_commit, policy_digest, engine, catalogue, inputs, steps, step_began,
		offer, offer_digest, grant_id, created_at, decide_by, decided_at`
	selectRequest = `SELECT ` + requestColumns + `,
		coalesce((SELECT body FROM texts WHERE kind = '` + textRequest + `' AND texts.id = requests.id), x'') FROM requests `
)

func requestValues(r access.Request) []any {
	return []any{r.ID.String(), r.Revision, r.Requester.String(), r.RequesterPerson.String(), r.Beneficiary.String(),
		r.Entitlement, r.App, object{r.Params}, r.Duration.Microseconds(),
		string(r.State), r.Code, r.Sentence, r.PolicyCommit, r.PolicyDigest, r.Engine, r.Catalogue, blob(r.Inputs),
		object{r.Steps}, micros(r.StepBegan), r.Offer.String(), r.OfferDigest, r.Grant.String(),
		micros(r.CreatedAt), micros(r.DecideBy), micros(r.DecidedAt)}
}

func readRequest(row row) (r access.Request, err error) {
	return r, row.Scan(asText(&r.ID), &r.Revision, asText(&r.Requester), parsed(&r.RequesterPerson, identity.ParsePerson),
		asText(&r.Beneficiary), &r.Entitlement, &r.App, asObject(&r.Params), asDuration(&r.Duration),
		&r.State, &r.Code, &r.Sentence, &r.PolicyCommit, &r.PolicyDigest, &r.Engine, &r.Catalogue, &r.Inputs,
		asObject(&r.Steps), asTime(&r.StepBegan), asText(&r.Offer), &r.OfferDigest, asText(&r.Grant),
		asTime(&r.CreatedAt), asTime(&r.DecideBy), asTime(&r.DecidedAt), &r.Reason)
}

func (s requests) Insert(ctx context.Context, r access.Request, offer []byte) error {
	values := requestValues(r)
	_, err := s.t.exec(ctx, `INSERT INTO requests (`+requestColumns+`) VALUES (`+marks(len(values))+`)`, values...)
	if err == nil {
		err = s.t.putText(ctx, textRequest, r.ID.String(), r.Requester, []byte(r.Reason))
	}
	if err == nil && !r.Offer.IsZero() {
		err = s.t.putText(ctx, textOffer, r.Offer.String(), r.Requester, offer)
	}
	return about(err, "insert request %s", r.ID)
}

func (s requests) Update(ctx context.Context, r access.Request) error {
	values := append(requestValues(r), r.ID.String())
	err := s.t.change(ctx, `UPDATE requests SET (`+requestColumns+`) = (`+marks(len(values)-1)+`) WHERE id = ?`, values...)
	if err == nil {
		err = s.t.putText(ctx, textRequest, r.ID.String(), r.Requester, []byte(r.Reason))
	}
	return about(err, "update request %s", r.ID)
}

func (s requests) Get(ctx context.Context, id grant.RequestID) (access.Request, error) {
	r, err := single(ctx, s.t, readRequest, selectRequest+`WHERE id = ?`, id.String())
	return r, about(err, "request %s", id)
}

func (s requests) Offer(ctx context.Context, id grant.OfferID) ([]byte, error) {
	b, err := single(ctx, s.t, readBytes, `SELECT body FROM texts WHERE kind = ? AND id = ?`, textOffer, id.String())
	return b, about(err, "offer %s", id)
}

func (s requests) List(ctx context.Context, f access.RequestFilter) ([]access.Request, error) {
	var w where
	w.equal("requester", f.Requester.String())
	w.equal("state", string(f.State))
	w.equal("app", f.App)
	w.before(f.Before.String())
	out, err := list(ctx, s.t, readRequest, selectRequest+w.page(f.Limit), w.args...)
	return out, about(err, "list requests")
}

func (s requests) CountPending(ctx context.Context, requester identity.Principal) (n int, err error) {
	err = s.t.one(ctx, `SELECT count(*) FROM requests WHERE requester = ? AND state = 'pending'`, []any{requester.String()}, &n)
	return n, about(err, "count pending requests")
}

func (s requests) Overdue(ctx context.Context, now time.Time, limit int) ([]access.Request, error) {
	out, err := list(ctx, s.t, readRequest, selectRequest+`
		WHERE state = 'pending' AND decide_by > 0 AND decide_by <= ? ORDER BY decide_by, id LIMIT ?`, micros(now), limitOf(limit))
	return out, about(err, "list overdue requests")
}

func (s requests) UnderPolicy(ctx context.Context, entitlement, digest string, from, before time.Time, limit int) (n int, newest []grant.RequestID, err error) {
	of, args := ` FROM requests WHERE entitlement = ? AND policy_digest = ?`, []any{entitlement, digest}
	if !from.IsZero() { // without a bound the index has it all
		of, args = of+` AND created_at >= ?`, append(args, micros(from))
	}
	if !before.IsZero() {
		of, args = of+` AND created_at < ?`, append(args, micros(before))
	}
	if err := s.t.one(ctx, `SELECT count(*)`+of, args, &n); err != nil {
		return 0, nil, about(err, "count requests for %s", entitlement)
	}
	read := func(r row) (id grant.RequestID, err error) { return id, r.Scan(asText(&id)) }
	newest, err = list(ctx, s.t, read, `SELECT id`+of+` ORDER BY id DESC LIMIT ?`, append(args, limitOf(limit))...)
	return n, newest, about(err, "list requests for %s", entitlement)
}
