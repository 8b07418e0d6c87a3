package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/policy"
)

// missingAfter is how long records may be on their way before they count as
// missing: the longest lease of money, secret and admin apps.
const missingAfter = 30 * time.Second

// NodesView is every registered node and running instance.
type NodesView struct {
	Nodes     []policy.Node
	Instances []InstanceView
	Missing   []MissingRecords
	Silenced  []Quarantine // by sidecar
	Bundles   []Bundle     // of foreign trust domains: mayflyd's, then each instance's
	Now       time.Time
}

// InstanceView is one instance as it stands now.
type InstanceView struct {
	Instance
	Listed bool // policy still lists its sidecar
	Fresh  bool // its lease may still run
	// Differs names the kinds whose catalogue differs from mayflyd's; operations
	// unknown to the instance are denied there.
	Differs []string
	// Keeps is what it keeps of the record.
	Keeps Keeps
}

// Nodes returns nodes and instances: for the security group.
func (s *Service) Nodes(ctx context.Context, c Caller) (NodesView, error) {
	var out NodesView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := v.everything(); err != nil {
			return err
		}
		list, err := tx.Instances().List(ctx)
		if err != nil {
			return fmt.Errorf("instances: %w", err)
		}
		out = NodesView{Nodes: v.set.Nodes(), Now: v.now}
		keeps := s.keeps.of(list)
		for _, i := range list {
			one := viewInstance(v.set, i, v.now)
			one.Keeps = keeps[i.ID]
			out.Instances = append(out.Instances, one)
		}
		out.Bundles = append(s.ownBundles(), s.bundles.of(list)...)
		if out.Silenced, err = tx.Quarantines().List(ctx); err != nil {
			return err
		}
		out.Missing, err = s.missing(ctx, tx)
		return err
	})
	if err != nil {
		return NodesView{}, err
	}
	return out, nil
}

func viewInstance(set *policy.Set, i Instance, now time.Time) InstanceView {
	v := InstanceView{Instance: i}
	_, err := nodeOf(set, i.ID)
	v.Listed = err == nil
	v.Fresh = !i.LastPong.IsZero() && now.Before(i.LastPong.Add(i.StaleAfter+pongMargin))
	for _, name := range i.Apps {
		a, ok := set.App(name)
		if told, has := i.Catalogues[a.Kind]; ok && has && told != a.Catalogue && !slices.Contains(v.Differs, a.Kind) {
			v.Differs = append(v.Differs, a.Kind)
		}
	}
	return v
}

// missing names the records that were said to exist longer ago than any lease
// runs and that are not here.
func (s *Service) missing(ctx context.Context, tx Tx) ([]MissingRecords, error) {
	var out []MissingRecords
	names := s.spools.spools()
	slices.Sort(names)
	for _, spool := range names {
		next, _, _, err := tx.Spools().Head(ctx, spool)
		if err != nil {
			return nil, fmt.Errorf("spool %s: %w", spool, err)
		}
		if m, ok := s.spools.missing(spool, next); ok && tx.Now().Sub(m.Since) > missingAfter {
			out = append(out, m)
		}
	}
	return out, nil
}
