package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
)

// sealKeyName is the file in data_dir under whose key refresh tokens are kept: 64
// hexadecimal digits.
const sealKeyName = "seal.key"

// sealKey reads the key that init made.
func sealKey(dir string) (access.SealKey, error) {
	text, err := readPrivate(filepath.Join(dir, sealKeyName))
	if errors.Is(err, fs.ErrNotExist) {
		return access.SealKey{}, fmt.Errorf("%s has no %s: run mayflyd init, which makes only what is missing", dir, sealKeyName)
	}
	if err != nil {
		return access.SealKey{}, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return access.SealKey{}, fmt.Errorf("%s: want 64 hexadecimal digits", sealKeyName)
	}
	key, err := access.ParseSealKey(raw)
	if err != nil {
		return access.SealKey{}, fmt.Errorf("%s: %w", sealKeyName, err)
	}
	return key, nil
}

// makeSealKey makes it, never over an existing one, and says which it was.
func makeSealKey(dir string) (state string, err error) {
	err = writeNew(filepath.Join(dir, sealKeyName), hex.EncodeToString(access.NewSealKey().Reveal()), 0o600)
	if errors.Is(err, fs.ErrExist) {
		_, err = sealKey(dir)
		return "kept", err
	}
	return "made", err
}
