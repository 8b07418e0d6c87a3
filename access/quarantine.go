package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// Quarantine is a gateway, all its instances, that gets no Pong: within the
// stale_after of each app it denies everything. It still ships its record.
type Quarantine struct {
	Sidecar identity.Principal
	Since   time.Time
	Reason  string // in words; not on the record, and forgotten with the release
}

// quarantined is the body of the leaf administration about a quarantine.
type quarantined struct {
	Operation string `json:"operation"`
	Node      string `json:"node"`
	By        string `json:"by"`              // pseudonym
	Under     string `json:"under,omitempty"` // the grant; empty: as a member of the security group
}

// Quarantine tells a gateway nothing more until it is released. It ends access,
// so the security group may at any time, and others under a grant of
// nodes.quarantine. Doing it twice changes nothing.
func (s *Service) Quarantine(ctx context.Context, c Caller, sidecar, reason string) (Quarantine, error) {
	node, err := gatewayOf(sidecar, reason)
	if err != nil {
		return Quarantine{}, err
	}
	out := Quarantine{Sidecar: node, Reason: reason}
	err = s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		body := quarantined{Operation: policy.OwnNodesQuarantine, Node: node.String()}
		if body.Under, err = w.mayEnd(ctx, set, c, own(policy.OwnNodesQuarantine, map[string]string{policy.OwnAttributeNode: node.String()})); err != nil {
			return err
		}
		if err := w.listed(ctx, set, node); err != nil {
			return err
		}
		all, err := w.tx.Quarantines().List(ctx)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(all, func(q Quarantine) bool { return q.Sidecar == node }); i >= 0 {
			out = all[i]
			return nil
		}
		out.Since = w.now
		if err := w.tx.Quarantines().Put(ctx, out); err != nil {
			return err
		}
		return w.administer(ctx, c, body.Node, &body.By, &body)
	})
	if err != nil {
		return Quarantine{}, err
	}
	return out, nil
}

// Release takes a gateway back: only under a grant of nodes.release.
func (s *Service) Release(ctx context.Context, c Caller, sidecar, reason string) error {
	node, err := gatewayOf(sidecar, reason)
	if err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		under, err := w.acting(ctx, w.tx, set, c, own(policy.OwnNodesRelease, map[string]string{policy.OwnAttributeNode: node.String()}))
		if err != nil {
			return err
		}
		switch err := w.tx.Quarantines().Lift(ctx, node); {
		case errors.Is(err, ErrNotFound):
			return fault(CodeNotFound, "mayfly nodes", "%q is not in quarantine", clip(node.String()))
		case err != nil:
			return fmt.Errorf("quarantine: %w", err)
		}
		body := quarantined{Operation: policy.OwnNodesRelease, Node: node.String(), Under: under.ID.String()}
		return w.administer(ctx, c, body.Node, &body.By, &body)
	})
}

func gatewayOf(sidecar, reason string) (identity.Principal, error) {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return identity.Principal{}, fault(CodeInvalid, "", "the reason is not text of at most %d bytes", maxReason)
	}
	node, err := identity.ParsePrincipal(sidecar)
	if err != nil || node.Kind() != identity.KindWorkload {
		return identity.Principal{}, fault(CodeInvalid, "mayfly nodes", "%q is not the SPIFFE ID of a sidecar", clip(sidecar))
	}
	return node, nil
}

// listed is nil if policy lists the sidecar, or one of it still runs.
func (w *work) listed(ctx context.Context, set *policy.Set, node identity.Principal) error {
	if _, ok := set.NodeOf(node); ok {
		return nil
	}
	running, err := w.tx.Instances().List(ctx)
	if err != nil {
		return fmt.Errorf("instances: %w", err)
	}
	if slices.ContainsFunc(running, func(i Instance) bool { return i.ID.Sidecar == node.String() }) {
		return nil
	}
	return fault(CodeNotFound, "mayfly nodes", "policy lists no gateway %q, and none runs", clip(node.String()))
}

// mayEnd lets the security group through, and others under a grant, which it
// returns the id of.
func (w *work) mayEnd(ctx context.Context, set *policy.Set, c Caller, op scope.Operation) (under string, err error) {
	member, refusal := inSecurity(set, c, w.now)
	if member {
		return "", nil
	}
	g, err := w.acting(ctx, w.tx, set, c, op)
	if CodeOf(err) == CodeNoGrant && refusal != nil {
		return "", refusal
	}
	return g.ID.String(), err
}

// administer appends the leaf of an administrator's act, by whom in by.
func (w *work) administer(ctx context.Context, c Caller, subject string, by *string, body any) error {
	name, err := w.pseudonym(ctx, c.Principal)
	if err != nil {
		return err
	}
	*by = name
	_, err = w.leaf(ctx, audit.TypeAdministration, subject, body)
	return err
}

// silent returns the beats of instances that are told nothing: their sidecar is
// in quarantine.
func silent(ctx context.Context, tx Tx, beats []feed.Beat) (map[feed.Instance]bool, error) {
	all, err := tx.Quarantines().List(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("quarantines: %w", err)
	}
	out := map[feed.Instance]bool{}
	for _, b := range beats {
		if slices.ContainsFunc(all, func(q Quarantine) bool { return q.Sidecar.String() == b.Instance.Sidecar }) {
			out[b.Instance] = true
		}
	}
	return out, nil
}
