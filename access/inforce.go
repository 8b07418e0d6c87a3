package access

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mayflyproxy/mayfly/policy"
)

// maxCachedPolicies bounds how many loaded policies are kept. A decision needs
// the one in force; older ones are loaded again to explain old decisions.
const maxCachedPolicies = 8

// policyCache keeps loaded policies by digest and commit. The zero value is ready.
type policyCache struct {
	mu   sync.Mutex
	sets map[policyKey]*policy.Set
}

type policyKey struct{ digest, commit string }

func (c *policyCache) get(k policyKey) *policy.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sets[k]
}

func (c *policyCache) put(k policyKey, s *policy.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets == nil || len(c.sets) >= maxCachedPolicies {
		c.sets = map[policyKey]*policy.Set{}
	}
	c.sets[k] = s
}

// inForce returns the policy in force as this transaction sees it. Every verb
// reads it there (contracts §6).
func (s *Service) inForce(ctx context.Context, tx Tx) (*policy.Set, error) {
	digest, commit, err := tx.Policies().Head(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil, fault(CodeNoPolicy, "", "no policy is in force yet")
	}
	if err != nil {
		return nil, fmt.Errorf("policy head: %w", err)
	}
	return s.policyAt(ctx, tx, policyKey{digest, commit})
}

// policyAt returns a stored policy, loaded with the options of this process.
func (s *Service) policyAt(ctx context.Context, tx Tx, k policyKey) (*policy.Set, error) {
	if set := s.policies.get(k); set != nil {
		return set, nil
	}
	stored, err := tx.Policies().ByDigest(ctx, k.digest)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", k.digest, err)
	}
	set, err := s.load(stored.Files, k.commit, true)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", k.digest, err)
	}
	if set.Digest() != k.digest {
		return nil, fmt.Errorf("policy %s: the stored files have digest %s", k.digest, set.Digest())
	}
	s.policies.put(k, set)
	return set, nil
}

// load loads a policy; one that was in force is not refused for what only keeps a
// commit from entering into force.
func (s *Service) load(files map[string][]byte, commit string, inForce bool) (*policy.Set, error) {
	o := s.options
	o.Commit, o.InForce = commit, inForce
	return policy.Load(files, o)
}

// Policy returns the policy in force.
func (s *Service) Policy(ctx context.Context) (*policy.Set, error) {
	var out *policy.Set
	err := s.store.View(ctx, func(tx Tx) (err error) {
		out, err = s.inForce(ctx, tx)
		return err
	})
	return out, err
}
