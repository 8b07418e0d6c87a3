package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"
)

// keep stores v under a key that only a browser or a command knows, once to be
// taken. It is sealed with that key, of which the store has but a hash: a PKCE
// verifier, a refresh token or a nonce cannot be read from the database.
func (s *Server) keep(ctx context.Context, key string, v any, life time.Duration) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c, err := sealer(key)
	if err != nil {
		return err
	}
	return s.service.PutLogin(ctx, key, c.Seal(nil, nil, plain, nil), life)
}

// take returns what keep stored, once; no_session otherwise.
func (s *Server) take(ctx context.Context, key string, v any) error {
	sealed, err := s.service.TakeLogin(ctx, key)
	if err != nil {
		return err
	}
	c, err := sealer(key)
	if err != nil {
		return err
	}
	plain, err := c.Open(nil, nil, sealed, nil)
	if err != nil {
		return errors.New("a login under way was changed in the store")
	}
	return json.Unmarshal(plain, v)
}

func sealer(key string) (cipher.AEAD, error) {
	secret, err := hkdf.Key(sha256.New, []byte(key), nil, "mayfly login under way", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
