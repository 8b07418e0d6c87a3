package proxy

import (
	"hash/maphash"
	"maps"
)

const (
	rowSize    = 32
	shardCount = rowSize * rowSize
)

// shards is a map that is never changed once it is shared. edit returns one that may
// be changed until it is shared itself: it copies only the parts that change, each
// once, so that one change to a large table copies a thousandth of it, and many copy
// no more than all of it. Parts stand in rows, or each change would copy a pointer to
// every part.
type shards[K comparable, V any] struct {
	seed maphash.Seed
	rows [rowSize]*row[K, V]
	size int
	own  *owned // what nobody else has; nil: it is shared
}

type row[K comparable, V any] [rowSize]map[K]V

// owned says of which rows, and of which parts in them, nobody else has a copy.
type owned struct {
	rows  uint32
	parts [rowSize]uint32
}

func newShards[K comparable, V any]() *shards[K, V] {
	return &shards[K, V]{seed: maphash.MakeSeed(), own: &owned{}}
}

func (s *shards[K, V]) part(k K) int { return int(maphash.Comparable(s.seed, k) % shardCount) }

// at returns a part, to be read; nil if there is nothing in it.
func (s *shards[K, V]) at(n int) map[K]V {
	if r := s.rows[n/rowSize]; r != nil {
		return r[n%rowSize]
	}
	return nil
}

func (s *shards[K, V]) get(k K) (V, bool) {
	v, ok := s.at(s.part(k))[k]
	return v, ok
}

// edit returns s if it is edited already, else a copy that is.
func (s *shards[K, V]) edit() *shards[K, V] {
	if s.own != nil {
		return s
	}
	out := *s
	out.own = &owned{}
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
	part := s.ours(s.part(k))
	was := len(part)
	part[k] = v
	s.size += len(part) - was
}

// remove changes s, which is edited.
func (s *shards[K, V]) remove(k K) {
	n := s.part(k)
	if _, ok := s.at(n)[k]; ok {
		delete(s.ours(n), k)
		s.size--
	}
}

// ours returns a part that nobody else has.
func (s *shards[K, V]) ours(n int) map[K]V {
	i, j := n/rowSize, n%rowSize
	if s.own.rows&(1<<i) == 0 {
		s.own.rows |= 1 << i
		copied := row[K, V]{}
		if s.rows[i] != nil {
			copied = *s.rows[i]
		}
		s.rows[i] = &copied
	}
	if s.own.parts[i]&(1<<j) == 0 {
		s.own.parts[i] |= 1 << j
		if s.rows[i][j] = maps.Clone(s.rows[i][j]); s.rows[i][j] == nil {
			s.rows[i][j] = map[K]V{}
		}
	}
	return s.rows[i][j]
}

// all calls f for each entry, in no order, until it returns false.
func (s *shards[K, V]) all(f func(K, V) bool) {
	for n := range shardCount {
		for k, v := range s.at(n) {
			if !f(k, v) {
				return
			}
		}
	}
}
