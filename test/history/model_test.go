package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// endSlack is how long after its end something may still arrive (P3).
const endSlack = 250 * time.Millisecond

// known is a grant as the model has it: when it was made and ended, by the time
// that passes for everybody, and what it is for. It knows no revision, no lease
// and no table.
type known struct {
	id       grant.GrantID
	by       account
	charge   string
	term     time.Duration
	notAfter time.Time // by the clock of mayflyd
	made     time.Time
	ended    time.Time // zero: nobody ended it
	lostBy   time.Duration
}

// asked is a request as the model has it.
type asked struct {
	id     grant.RequestID
	by     account
	charge string
	term   time.Duration
	need   int
	offer  string
	said   map[string]bool // persons, not its own, whose approval may have counted
	grant  *known
}

// mayPass says what is wrong with an action that instance n lets through under k now.
func (w *world) mayPass(n *node, k *known) error {
	now := time.Now()
	switch t := n.table.Now(); {
	case !t.Before(k.notAfter):
		return fmt.Errorf("P3: at %s the instance permits what ends at %s", t, k.notAfter)
	case now.After(w.latest(k).Add(endSlack)):
		return fmt.Errorf("P3: %s after it was made, a grant of %s permits", now.Sub(k.made), k.term)
	case !k.ended.IsZero() && !now.Before(k.ended.Add(staleAfter)):
		return fmt.Errorf("P4: %s after it was ended, a grant permits", now.Sub(k.ended))
	case !k.ended.IsZero() && w.receipt(n, k):
		return errors.New("P4: the receipt says that the instance knows, and the grant permits")
	}
	return nil
}

// latest is when k is over by the time that passes for everybody. One thing moves it:
// what mayflyd's clock lost as its machine was started again with a wall clock that is
// behind.
func (w *world) latest(k *known) time.Time {
	return k.made.Add(k.term + w.lost - k.lostBy)
}

// receipt is whether whoever ended k is told that n lets nothing more through. One
// thing that a history does is beyond what receipts promise: messages of a stream that
// arrive in another order than TLS delivers them, so that an instance acknowledges what
// it has not seen.
func (w *world) receipt(n *node, k *known) bool {
	how := ""
	w.read(func(ctx context.Context, tx access.Tx) error {
		r, err := tx.Revocations().Get(ctx, k.id)
		if errors.Is(err, access.ErrNotFound) {
			return nil
		}
		how = "not awaited"
		for _, wait := range r.Waits {
			if wait.Instance == n.instance {
				how = wait.Done(tx.Passed())
			}
		}
		return err
	})
	switch how {
	case "":
		return false
	case "closed":
		return true
	default:
		return !n.apart
	}
}

// check holds every instance to the model.
func (w *world) check() error {
	for i, n := range w.nodes {
		for _, k := range w.grants {
			if err := w.checkOne(n, k); err != nil {
				return fmt.Errorf("instance %d, grant %s: %w", i, k.id, err)
			}
		}
	}
	return nil
}

func (w *world) checkOne(n *node, k *known) error {
	p := parse(k.by.principal)
	g, allowed := n.try(p, refund(k.charge, most), k.id)
	w.count(allowed)
	if !allowed {
		return nil
	}
	if g.ID != k.id || g.NotAfter.IsZero() || g.NotAfter.Sub(g.NotBefore) != k.term {
		return fmt.Errorf("P1: the instance holds %s from %s to %s, %s was granted", g.ID, g.NotBefore, g.NotAfter, k.term)
	}
	if err := w.mayPass(n, k); err != nil {
		return err
	}
	for name, far := range map[string]func() bool{
		"more":              func() bool { _, ok := n.try(p, refund(k.charge, most+1), k.id); return ok },
		"another charge":    func() bool { _, ok := n.try(p, refund(k.charge+"0", 1), k.id); return ok },
		"another principal": func() bool { _, ok := n.try(parse(people[5].principal), refund(k.charge, 1), k.id); return ok },
	} {
		if far() {
			return fmt.Errorf("P2: it permits %s", name)
		}
	}
	return nil
}

// learn reads what became of the requests: a verb whose answer was lost may have
// happened.
func (w *world) learn() error {
	return w.readErr(func(ctx context.Context, tx access.Tx) error {
		list, err := tx.Requests().List(ctx, access.RequestFilter{Limit: 100})
		if err != nil {
			return err
		}
		for _, r := range list {
			a, err := w.learnRequest(r)
			if err != nil || r.Grant.IsZero() {
				continue
			}
			g, err := tx.Grants().Get(ctx, r.Grant)
			if err != nil {
				return err
			}
			if err := w.learnGrant(a, g); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) learnRequest(r access.Request) (*asked, error) {
	for _, a := range w.asks {
		if a.charge == r.Params["charge"] {
			a.id, a.offer = r.ID, r.OfferDigest
			return a, nil
		}
	}
	return nil, fmt.Errorf("nobody asked for %s", r.ID)
}

func (w *world) learnGrant(a *asked, g grant.Grant) error {
	if a.grant == nil {
		if len(a.said) < a.need {
			return fmt.Errorf("P6: %s was granted to %s with the words of %v, %d persons are needed", g.ID, a.by.principal, a.said, a.need)
		}
		if g.Principal != parse(a.by.principal) || g.NotAfter.Sub(g.NotBefore) != a.term {
			return fmt.Errorf("P1: %s asked for %s, %s got %s to %s", a.by.principal, a.term, g.Principal, g.NotBefore, g.NotAfter)
		}
		a.grant = &known{id: g.ID, by: a.by, charge: a.charge, term: a.term, notAfter: g.NotAfter, made: time.Now(), lostBy: w.lost}
		w.grants = append(w.grants, a.grant)
	}
	if k := a.grant; k.ended.IsZero() && (!g.Revoked.IsZero() || !g.Finished.IsZero()) {
		k.ended = time.Now()
	}
	return nil
}
