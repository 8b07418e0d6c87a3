package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

const (
	signingKeyName  = "checkpoint.key"
	verifierKeyName = "checkpoint.pub"
)

// recordKeys reads the keys that init made.
func recordKeys(dir, origin string) (*audit.Signer, *audit.Verifier, error) {
	text, err := readPrivate(filepath.Join(dir, signingKeyName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s has no %s: run mayflyd init first", dir, signingKeyName)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := audit.ParseSigningKey(string(text))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", signingKeyName, err)
	}
	signer, err := audit.NewSigner(key)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", signingKeyName, err)
	}
	if signer.Origin() != origin {
		return nil, nil, fmt.Errorf("the signing key is for origin %s, the configuration says %s", signer.Origin(), origin)
	}
	public, err := os.ReadFile(filepath.Join(dir, verifierKeyName))
	if err != nil {
		return nil, nil, err
	}
	verifier, err := audit.NewVerifier(string(public))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", verifierKeyName, err)
	}
	return signer, verifier, nil
}

// makeRecordKeys makes them, never over existing ones.
func makeRecordKeys(dir, origin string) (public string, err error) {
	key, public, err := audit.GenerateKey(origin)
	if err != nil {
		return "", err
	}
	if err := writeNew(filepath.Join(dir, signingKeyName), key.Reveal(), 0o600); err != nil {
		return "", err
	}
	return public, writeNew(filepath.Join(dir, verifierKeyName), public, 0o644)
}

func writeNew(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text + "\n"); err != nil {
		_ = f.Close()
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openPin compares the database with the newest checkpoint that was kept outside
// of it, and refuses to start behind it (P9).
func openPin(ctx context.Context, path string, store access.Store, signer *audit.Signer, v *audit.Verifier) (*audit.Pin, error) {
	pin, err := audit.OpenPin(path, v)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	var root audit.Hash
	err = store.View(ctx, func(tx access.Tx) error {
		size, err := tx.Log().Size(ctx)
		if err != nil {
			return err
		}
		if missing {
			root, err = audit.TreeHash(ctx, tx.Log(), 0)
			return errors.Join(err, firstPin(size, path))
		}
		if root, err = audit.TreeHash(ctx, tx.Log(), min(size, pin.Checkpoint().Size)); err != nil {
			return err
		}
		return pin.Check(size, root)
	})
	if err != nil || !missing {
		return pin, err
	}
	signed, err := signer.Sign(0, root)
	if err != nil {
		return nil, err
	}
	return audit.CreatePin(path, v, signed)
}

// firstPin allows a pin to be made only for an empty log.
func firstPin(size int64, path string) error {
	if size > 0 {
		return fmt.Errorf("the record has %d entries and no pin at %s: put the pin back, or nobody can tell whether entries are missing", size, path)
	}
	return nil
}

// advance keeps the newest checkpoint. A pin that cannot be written is an alarm
// and not a stop: the checkpoint is out already.
func advance(pin *audit.Pin, log *slog.Logger) func([]byte) {
	return func(signed []byte) {
		if err := pin.Advance(signed); err != nil {
			log.Error("checkpoint not pinned", "error", err)
		}
	}
}
