package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/mayflyproxy/mayfly/audit"
)

// checkpointFile keeps, in the state folder, the newest checkpoint that was shown.
const checkpointFile = "checkpoint"

func (c recordConfig) check() error {
	_, err := c.open()
	return err
}

// open reads the key that the record's checkpoints are signed with. There is no
// gateway without: it could be shown any record.
func (c recordConfig) open() (*audit.Verifier, error) {
	if c.Key == "" {
		return nil, errors.New("record.key: want the file with the record's public key: a copy of checkpoint.pub, which mayflyd init makes")
	}
	text, err := os.ReadFile(c.Key)
	if err != nil {
		return nil, fmt.Errorf("record.key: %w", err)
	}
	v, err := audit.NewVerifier(string(text))
	if err != nil {
		return nil, fmt.Errorf("record.key: %s: %w", c.Key, err)
	}
	return v, nil
}
