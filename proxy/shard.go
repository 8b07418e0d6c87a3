package proxy

import (
	"hash/maphash"
	"maps"
)

const shardCount = 1024

// shards is a map that is never changed once it is shared: with and without
// return a new one that shares all but one of its parts, so that one change to a
// large table copies a thousandth of it.
type shards[K comparable, V any] struct {
	seed  maphash.Seed
	parts [shardCount]map[K]V
	size  int
}

func newShards[K comparable, V any]() *shards[K, V] {
	return &shards[K, V]{seed: maphash.MakeSeed()}
}

func (s *shards[K, V]) part(k K) int { return int(maphash.Comparable(s.seed, k) % shardCount) }

func (s *shards[K, V]) get(k K) (V, bool) {
	v, ok := s.parts[s.part(k)][k]
	return v, ok
}

// put changes s itself: only for one that nobody else has yet.
func (s *shards[K, V]) put(k K, v V) {
	n := s.part(k)
	if s.parts[n] == nil {
		s.parts[n] = map[K]V{}
	}
	if _, ok := s.parts[n][k]; !ok {
		s.size++
	}
	s.parts[n][k] = v
}

func (s *shards[K, V]) with(k K, v V) *shards[K, V] {
	out := s.forked(k)
	out.put(k, v)
	return out
}

func (s *shards[K, V]) without(k K) *shards[K, V] {
	if _, ok := s.get(k); !ok {
		return s
	}
	out := s.forked(k)
	delete(out.parts[out.part(k)], k)
	out.size--
	return out
}

func (s *shards[K, V]) forked(k K) *shards[K, V] {
	out := *s
	n := out.part(k)
	out.parts[n] = maps.Clone(out.parts[n])
	return &out
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
