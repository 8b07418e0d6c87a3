package access

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/mayflyproxy/mayfly/policy"
)

// maxCachedPolicies bounds how many loaded policies are kept. Every decision needs the
// one in force, which so is never the one that was needed longest ago; commits that
// wait, and old policies, are loaded to compare and to explain.
const maxCachedPolicies = 32

// policyCache keeps loaded policies by digest and commit, those that were needed last.
// The zero value is ready.
type policyCache struct {
	mu   sync.Mutex
	sets *simplelru.LRU[policyKey, *policy.Set]
}

type policyKey struct{ digest, commit string }

func (c *policyCache) get(k policyKey) *policy.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets == nil {
		return nil
	}
	set, _ := c.sets.Get(k)
	return set
}

func (c *policyCache) put(k policyKey, s *policy.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets == nil {
		c.sets, _ = simplelru.NewLRU[policyKey, *policy.Set](maxCachedPolicies, nil) // fails for a size below 1 only
	}
	c.sets.Add(k, s)
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
