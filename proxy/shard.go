package proxy

import (
	"hash/maphash"
	"maps"
)

const shardCount = 1024

// shards is a map that is never changed once it is shared. edit returns one that may
// be changed until it is shared itself: it copies only the parts that change, each
// once, so that one change to a large table copies a thousandth of it, and many copy
// no more than all of it.
type shards[K comparable, V any] struct {
	seed  maphash.Seed
	parts [shardCount]map[K]V
	size  int
	own   *[shardCount]bool // parts that nobody else has; nil: it is shared
}

func newShards[K comparable, V any]() *shards[K, V] {
	return &shards[K, V]{seed: maphash.MakeSeed(), own: &[shardCount]bool{}}
}

func (s *shards[K, V]) part(k K) int { return int(maphash.Comparable(s.seed, k) % shardCount) }

func (s *shards[K, V]) get(k K) (V, bool) {
	v, ok := s.parts[s.part(k)][k]
	return v, ok
}

// edit returns s if it is edited already, else a copy that is.
func (s *shards[K, V]) edit() *shards[K, V] {
	if s.own != nil {
		return s
	}
	out := *s
	out.own = &[shardCount]bool{}
	return &out
}

// share ends the edit: s may be read by anybody from now on, and not be changed.
func (s *shards[K, V]) share() {
	if s.own != nil { // what is shared is not written to
		s.own = nil
	}
}

// put changes s, which is edited.
func (s *shards[K, V]) put(k K, v V) {
	part := s.owned(s.part(k))
	was := len(part)
	part[k] = v
	s.size += len(part) - was
}

// remove changes s, which is edited.
func (s *shards[K, V]) remove(k K) {
	n := s.part(k)
	if _, ok := s.parts[n][k]; ok {
		delete(s.owned(n), k)
		s.size--
	}
}

func (s *shards[K, V]) owned(n int) map[K]V {
	if !s.own[n] {
		s.own[n] = true
		if s.parts[n] = maps.Clone(s.parts[n]); s.parts[n] == nil {
			s.parts[n] = map[K]V{}
		}
	}
	return s.parts[n]
}

// all calls f for each entry, in no order, until it returns false.
func (s *shards[K, V]) all(f func(K, V) bool) {
	for _, part := range s.parts {
		for k, v := range part {
			if !f(k, v) {
				return
			}
		}
	}
}
