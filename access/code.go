package access

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

const (
	codeLife    = 60 * time.Second // of an authorization code (RFC 6749 §4.1.2)
	codePrefix  = "code:"          // keeps codes apart from other logins under way
	spentPrefix = "spent:"         // of a code that was redeemed
)

// PutCode keeps what an authorization code stands for, for 60 s, sealed with the code,
// of which the store has but a hash.
func (s *Service) PutCode(ctx context.Context, code string, body []byte) error {
	c, err := codeSealer(code)
	if err != nil {
		return err
	}
	return s.PutLogin(ctx, codePrefix+code, c.Seal(nil, nil, body, nil), codeLife)
}

func codeSealer(code string) (cipher.AEAD, error) {
	secret, err := hkdf.Key(sha256.New, []byte(code), nil, "mayfly authorization code", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// RedeemCode turns an authorization code into the session that it stands for: once,
// whatever comes of it. read says from what PutCode kept who has logged in, or why
// the code is refused. A code that is shown again after it was redeemed has been
// seen by somebody else: the session that came of it ends (RFC 6749 §4.1.2).
func (s *Service) RedeemCode(ctx context.Context, code string, read func(body []byte) (Login, error)) (SessionSecret, Session, error) {
	secret := newSecret()
	sealer, err := codeSealer(code)
	if err != nil {
		return SessionSecret{}, Session{}, err
	}
	var out Session
	var refusal error
	err = s.update(ctx, func(w *work) error {
		out, refusal = Session{}, nil
		sealed, err := w.tx.Sessions().TakeLogin(ctx, hashKey(codePrefix+code), w.now)
		if errors.Is(err, ErrNotFound) {
			refusal = fault(CodeNoSession, "mayfly login", "there is no such code, or it was used, or its minute has passed")
			return w.endReused(ctx, code)
		}
		if err != nil {
			return err
		}
		body, err := sealer.Open(nil, nil, sealed, nil)
		if err != nil {
			return errors.New("an authorization code was changed in the store")
		}
		l, err := read(body)
		if err == nil {
			err = l.check()
		}
		if err != nil {
			refusal = err // committed: the code is spent
			return nil
		}
		if out, err = w.newSession(ctx, l, secret); err != nil {
			return err
		}
		return w.tx.Sessions().PutLogin(ctx, hashKey(spentPrefix+code), []byte(out.ID.String()), w.now.Add(maxLogin))
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return SessionSecret{}, Session{}, err
	}
	return secret, out, nil
}

// endReused ends what came of a code that is shown a second time.
func (w *work) endReused(ctx context.Context, code string) error {
	raw, err := w.tx.Sessions().TakeLogin(ctx, hashKey(spentPrefix+code), w.now)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var id grant.SessionID
	if err := id.UnmarshalText(raw); err != nil {
		return err
	}
	got, err := w.tx.Sessions().ByID(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil // there is nothing left to end
	}
	if err != nil {
		return fmt.Errorf("session of a code: %w", err)
	}
	if !got.Live(w.now) {
		return nil
	}
	_, err = w.endSessions(ctx, []Session{got}, grant.SessionEnded, byReuse)
	return err
}
