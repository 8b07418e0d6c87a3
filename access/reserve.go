package access

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// Reserve acknowledges one intent before the act: its grant is live here and now
// and belongs to an app that the instance fronts, and the intent's hash stands
// in the record. The same action always gets the same answer; any other answer
// than OK leaves no leaf, and the action does not happen.
func (s Source) Reserve(ctx context.Context, i feed.Instance, r *feed.ReserveRequest) (*feed.ReserveResponse, error) {
	ask, err := reserveOf(r)
	if err != nil {
		return nil, err
	}
	var out *feed.ReserveResponse
	err = s.update(ctx, func(w *work) error {
		apps, err := w.peerOnly(ctx, i)
		if err != nil {
			return err
		}
		out, err = w.reserve(ctx, i, apps, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// reservation is a ReserveRequest that was read.
type reservation struct {
	action grant.ActionID
	grant  grant.GrantID
	body   audit.Reserved
}

func reserveOf(r *feed.ReserveRequest) (reservation, error) {
	bad := func(format string, args ...any) error { return status.Errorf(codes.InvalidArgument, format, args...) }
	var out reservation
	if err := out.action.UnmarshalText([]byte(r.GetAction())); err != nil || out.action.IsZero() {
		return out, bad("reserve: action %q", clip(r.GetAction()))
	}
	if err := out.grant.UnmarshalText([]byte(r.GetGrant())); err != nil || out.grant.IsZero() {
		return out, bad("reserve: grant %q", clip(r.GetGrant()))
	}
	if _, err := parseSpoolID(r.GetSpool()); err != nil || r.GetSeq() == 0 {
		return out, bad("reserve: spool %q, seq %d", clip(r.GetSpool()), r.GetSeq())
	}
	if len(r.GetFrameSha256()) != len(audit.Hash{}) {
		return out, bad("reserve: frame_sha256 is 32 bytes")
	}
	amount, currency, err := splitAmount(r.GetAmount())
	if err != nil {
		return out, bad("reserve: %v", err)
	}
	out.body = audit.Reserved{
		Action: r.GetAction(), Grant: r.GetGrant(), Class: clip(r.GetClass()), Calls: uint64(r.GetCalls()), Amount: amount, Currency: currency,
		Spool: r.GetSpool(), Seq: r.GetSeq(), Frame: audit.Hash(r.GetFrameSha256()),
	}
	return out, nil
}

func (w *work) reserve(ctx context.Context, i feed.Instance, apps []string, ask reservation) (*feed.ReserveResponse, error) {
	before, err := w.tx.Reservations().Get(ctx, ask.action)
	switch {
	case err == nil && (before.Instance != i || before.Grant != ask.grant):
		return nil, status.Errorf(codes.InvalidArgument, "action %s was reserved by another intent", ask.action)
	case err == nil:
		return &feed.ReserveResponse{Result: feed.ReserveResponse_Result(before.Result), Reason: before.Reason}, nil
	case !errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("reservation: %w", err)
	}
	if err := w.ownSpool(ctx, i, ask.body); err != nil {
		return nil, err
	}
	reason, err := w.reservable(ctx, i, apps, ask.grant)
	if err != nil {
		return nil, err
	}
	out := &feed.ReserveResponse{Result: feed.ReserveResponse_OK, Reason: string(reason)}
	row := Reservation{Action: ask.action, Grant: ask.grant, Instance: i, At: w.now, Leaf: -1}
	if reason != "" {
		out.Result = feed.ReserveResponse_ENDED
	} else if row.Leaf, err = w.leaf(ctx, audit.TypeActionReserved, ask.grant.String(), ask.body, ask.action.String()); err != nil {
		return nil, err
	}
	if row.Leaf >= 0 {
		if err := w.tx.Grants().Used(ctx, ask.grant, w.now); err != nil {
			return nil, fmt.Errorf("use of %s: %w", ask.grant, err)
		}
	}
	row.Result, row.Reason = int32(out.Result), out.Reason
	if err := w.tx.Reservations().Insert(ctx, row); err != nil {
		return nil, fmt.Errorf("reservation: %w", err)
	}
	return out, nil
}

// ownSpool refuses an intent in a spool that another sidecar ships.
func (w *work) ownSpool(ctx context.Context, i feed.Instance, body audit.Reserved) error {
	_, _, owner, err := w.tx.Spools().Head(ctx, body.Spool)
	if err != nil {
		return fmt.Errorf("spool %s: %w", body.Spool, err)
	}
	if owner != "" && owner != i.Sidecar {
		return status.Errorf(codes.PermissionDenied, "spool %s belongs to another sidecar", body.Spool)
	}
	return nil
}

// reservable says why an intent under a grant may not go on, "" if it may.
func (w *work) reservable(ctx context.Context, i feed.Instance, apps []string, id grant.GrantID) (grant.Reason, error) {
	quiet, err := silent(ctx, w.tx, []feed.Beat{{Instance: i}})
	if err != nil {
		return "", err
	}
	if quiet[i] {
		return grant.Stale, nil
	}
	g, err := w.tx.Grants().Get(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return grant.NoGrant, nil
	case err != nil:
		return "", fmt.Errorf("grant: %w", err)
	case !slices.Contains(apps, g.Scope.App):
		return grant.NoGrant, nil
	}
	return grant.ReasonOf(g.InForce(w.now)), nil
}
