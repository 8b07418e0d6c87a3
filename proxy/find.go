package proxy

import (
	"iter"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Find returns the grant under which p may do op at now: the presented one if
// there is one, else of those that cover the whole operation the one that ends
// last, on a tie the one with the smallest id (contracts §4). Otherwise the
// error is a Denial of the nearest miss, with the smallest entitlement that
// would cover op and the command that asks for it.
func (t *Table) Find(p identity.Principal, op scope.Operation, now time.Time, presented grant.GrantID) (grant.Grant, error) {
	s := t.state.Load()
	if err := t.fresh(s, op.App); err != nil {
		return grant.Grant{}, err
	}
	if p.IsZero() {
		return grant.Grant{}, grant.Deny(grant.NoIdentity, "nobody was proven")
	}
	best := nearest{denial: grant.Deny(grant.NoGrant, "nothing is granted that covers %s", op)}
	app := s.apps[op.App]
	var o opener
	for h := range s.of(holder{op.App, p}, presented) {
		kind, covered := o.scope(&h.packed).Misses(op)
		if !covered && best.rank == missConstraint {
			continue // nothing is nearer
		}
		if !app.counts(o.entitlement) {
			continue
		}
		miss, maybe := s.misses(h, kind, covered, now)
		if !maybe && !best.beaten(miss, h) {
			continue
		}
		g := h.open()
		err := s.permits(h, g, p, op, now) // the one that decides
		if err == nil {
			return g, nil
		}
		best = nearest{denial: grant.Of(err), rank: miss, ended: g.EndsAt()}
	}
	return grant.Grant{}, advise(app, p, op, best.denial)
}

// advised returns err, the refusal of a token of the grant presented, with what to ask
// for. Where the grant itself permits op another token of it would do, and it stays as it is.
func (t *Table) advised(p identity.Principal, op scope.Operation, now time.Time, presented grant.GrantID, err error) error {
	s := t.state.Load()
	for h := range s.of(holder{op.App, p}, presented) {
		if s.permits(h, h.open(), p, op, now) == nil {
			return err
		}
	}
	return advise(s.apps[op.App], p, op, grant.Of(err))
}

// permits is grant.Permits of g, which is h opened, and never yes for a past grant.
func (s *state) permits(h *held, g grant.Grant, p identity.Principal, op scope.Operation, now time.Time) error {
	if err := s.inForce(h, now); err != nil {
		return err
	}
	return g.Permits(p, op, now)
}

// of gives what somebody holds or held, what is in force in order; of a presented
// grant that one only.
func (s *state) of(k holder, presented grant.GrantID) iter.Seq[*held] {
	return func(yield func(*held) bool) {
		if !presented.IsZero() {
			if h, ok := s.byID.get(presented); ok && h.holder() == k {
				yield(h)
			}
			return
		}
		l, _ := s.lists.get(k)
		for h := range l.all {
			if !yield(h) {
				return
			}
		}
		past, _ := s.pasts.get(k)
		for _, h := range past {
			if !yield(h) {
				return
			}
		}
	}
}

// nearest is the refusal that came closest to a yes.
type nearest struct {
	denial *grant.Denial
	rank   int
	ended  time.Time // of missPast: when it ended
}

// The ranks of a miss: a constraint, then the operation, then what would have
// covered it in its time, then what this gateway does not understand.
const (
	missUnsupported = iota + 1
	missPast
	missNotYet
	missOperation
	missConstraint
)

// beaten reports whether a miss of that rank, by h, is nearer. Of two that are over the
// one that ended later is: what the caller had until just now. Of others that are
// equally near the first one stays: the one that ends last.
func (n *nearest) beaten(rank int, h *held) bool {
	return rank > n.rank || rank == missPast && rank == n.rank && h.marked(h.term()).EndsAt().After(n.ended)
}

// misses says how far h is from permitting at now what its scope covers, or misses in
// that way, unless it may. It is for telling one of many from another, and decides
// nothing: permits does.
func (s *state) misses(h *held, kind scope.MissKind, covered bool, now time.Time) (rank int, maybe bool) {
	err := s.inForce(h, now)
	switch {
	case h.refused() != "":
		return missUnsupported, false
	case err == nil && covered:
		return 0, true
	case err == nil && kind == scope.MissConstraint:
		return missConstraint, false
	case err == nil:
		return missOperation, false
	case !covered:
		return 0, false // over, and it would not have covered this either
	case grant.ReasonOf(err) == grant.NotYet:
		return missNotYet, false
	default:
		return missPast, false
	}
}
