package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/identity"
)

// seenEvery is how often a call of the API by one workload is noted.
const seenEvery = 10 * time.Second

// maxCallers bounds how many workloads the note is spared for.
const maxCallers = 4096

// apiCallers remembers when calls of the API were noted last. The zero value is ready.
type apiCallers struct {
	mu    sync.Mutex
	noted map[identity.Principal]time.Time
}

// due reports whether a call at now is to be noted, and takes it that it will be.
func (a *apiCallers) due(p identity.Principal, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.noted[p]; ok && now.Sub(last) < seenEvery {
		return false
	}
	if a.noted == nil || len(a.noted) >= maxCallers {
		a.noted = map[identity.Principal]time.Time{}
	}
	a.noted[p] = now
	return true
}

// SawWorkload notes that a workload called the API, whatever becomes of the call.
// What cannot be noted is told to operators, and keeps nobody from calling. The
// machine's clock only spaces the writes; what is written has the transaction's.
func (s *Service) SawWorkload(ctx context.Context, p identity.Principal) {
	if p.Kind() != identity.KindWorkload || !s.callers.due(p, time.Now()) {
		return
	}
	err := s.store.Update(ctx, func(tx Tx) error {
		return tx.Workloads().Seen(ctx, WorkloadUse{Principal: p, First: tx.Now(), Last: tx.Now(), Asked: 1})
	})
	if err != nil {
		s.log.WarnContext(ctx, "workload not noted", "workload", p.String(), "error", err)
	}
}

// Workloads lists the workloads that were seen, by principal: for the security group.
func (s *Service) Workloads(ctx context.Context, c Caller, l ListWorkloads) ([]WorkloadView, error) {
	var out []WorkloadView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := v.everything(); err != nil {
			return err
		}
		limit := pageSize(l.Limit)
		for after := l.After; len(out) < limit; {
			page, err := tx.Workloads().List(ctx, after, maxPage)
			if err != nil {
				return err
			}
			for _, u := range page {
				one, err := v.workload(ctx, tx, u)
				if err != nil {
					return err
				}
				if len(out) < limit && !(l.Unknown && one.Owner != "") {
					out = append(out, one)
				}
			}
			if len(page) < maxPage {
				return nil
			}
			after = page[len(page)-1].Principal.String()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (v *viewer) workload(ctx context.Context, tx Tx, u WorkloadUse) (WorkloadView, error) {
	out := WorkloadView{WorkloadUse: u}
	if v.set != nil && !u.Principal.IsZero() {
		out.Owner, out.Known = v.set.OwnerOf(u.Principal), v.set.Knows(u.Principal)
	}
	if u.Principal.IsZero() {
		return out, nil
	}
	live, err := tx.Grants().List(ctx, GrantFilter{Principal: u.Principal, LiveAt: v.now, Limit: maxPage})
	if err != nil {
		return WorkloadView{}, fmt.Errorf("grants of %s: %w", u.Principal, err)
	}
	out.Grants = len(live)
	return out, nil
}

// seen notes the workloads that one segment tells of. A gateway's clock tells nothing
// of the future.
func (w *work) seen(ctx context.Context, i feed.Instance, calls map[string]WorkloadUse) error {
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return err
	}
	node, err := nodeOf(set, i)
	if err != nil {
		return err
	}
	uses := map[identity.Principal]WorkloadUse{}
	for name, use := range calls {
		p, err := w.caller(ctx, name)
		if err != nil {
			return err
		}
		if p.IsZero() && name != "" {
			continue // a person, or one who was erased
		}
		use.Principal, use.Environment = p, node.Environment
		use.First, use.Last, use.Called = earlier(use.First, w.now), earlier(use.Last, w.now), earlier(use.Called, w.now)
		uses[p] = uses[p].join(use)
	}
	for _, u := range uses {
		if err := w.tx.Workloads().Seen(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// caller returns the workload behind a name of the record, the zero Principal for
// persons and for whom nobody knows.
func (w *work) caller(ctx context.Context, name string) (identity.Principal, error) {
	if strings.HasPrefix(name, "spiffe://") {
		p, err := identity.ParsePrincipal(name)
		if err != nil {
			return identity.Principal{}, nil //nolint:nilerr // a gateway wrote nonsense; its record says so
		}
		return p, nil
	}
	if name == "" {
		return identity.Principal{}, nil
	}
	p, err := w.tx.Persons().ByPseudonym(ctx, name)
	if errors.Is(err, ErrNotFound) || err == nil && p.Kind() != identity.KindWorkload {
		return identity.Principal{}, nil
	}
	return p, err
}
