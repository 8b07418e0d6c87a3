package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// maxKeys bounds a KeySet. A few are in overlap at a time.
const maxKeys = 64

// KeySet is one immutable state of the keys that verify tokens. A nil or empty
// KeySet verifies nothing. Safe for concurrent use. A changed set is another KeySet:
// what was verified under the old one is verified anew.
type KeySet struct {
	keys []PublicKey
	byID map[string]int
	jwks []byte
}

// NewKeySet checks the keys, each as NewPublicKey does; none may stand twice.
func NewKeySet(keys []PublicKey) (*KeySet, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("key set: %d keys, want at most %d", len(keys), maxKeys)
	}
	s := &KeySet{keys: slices.Clone(keys), byID: make(map[string]int, len(keys))}
	list := make([]json.RawMessage, len(keys))
	for i, k := range keys {
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		if _, ok := s.byID[k.ID]; ok {
			return nil, errors.New("key set: a key stands twice")
		}
		s.byID[k.ID] = i
		text, err := k.JWK()
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		list[i] = text
	}
	var err error
	if s.jwks, err = json.Marshal(map[string]any{"keys": list}); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return s, nil
}

// ParseJWKS reads what JWKS wrote (RFC 7517 §5). One key that is not of the profile
// refuses the set.
func ParseJWKS(text []byte) (*KeySet, error) {
	if len(text) > maxKeys*maxJWK {
		return nil, errors.New("jwks: it is too long")
	}
	n, err := parseObject(string(text))
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	list := n.get("keys")
	if list == nil || list.kind != kindArray || len(list.list) > maxKeys {
		return nil, errors.New("jwks: want a list of keys")
	}
	keys := make([]PublicKey, len(list.list))
	for i := range list.list {
		if keys[i], err = list.list[i].jwk(); err != nil {
			return nil, fmt.Errorf("jwks: key %d: %w", i, err)
		}
	}
	return NewKeySet(keys)
}

// JWKS returns the set as RFC 7517 §5 writes it. The caller does not change it.
func (s *KeySet) JWKS() []byte {
	if s == nil {
		return []byte(`{"keys":[]}`)
	}
	return s.jwks
}

// Lookup returns the key of exactly that id. No other key is ever tried.
func (s *KeySet) Lookup(id string) (PublicKey, bool) {
	if s == nil {
		return PublicKey{}, false
	}
	i, ok := s.byID[id]
	if !ok {
		return PublicKey{}, false
	}
	return s.keys[i], true
}

// Keys returns the keys in their order.
func (s *KeySet) Keys() []PublicKey {
	if s == nil {
		return nil
	}
	return slices.Clone(s.keys)
}
