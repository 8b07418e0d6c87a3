package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/scope"
)

// proofsFile keeps, in the state folder, what must be known of proofs over restarts.
const proofsFile = "proofs"

// isZero reports whether nothing is said: then no app needs proofs.
func (c proofConfig) isZero() bool {
	return len(c.Apps) == 0 && len(c.PolicySigners) == 0 && c.PolicyFolder == "" && c.Since == "" && c.Console == ""
}

func (c proofConfig) check() error {
	if c.isZero() {
		return nil
	}
	_, err := c.read()
	return err
}

// read reads what the file says; any part of it that is wrong is an error.
func (c proofConfig) read() (proof.Trust, error) {
	trust := proof.Trust{Folder: c.PolicyFolder}
	if len(c.Apps) == 0 || len(c.PolicySigners) == 0 {
		return trust, errors.New("proof: want apps and policy_signers, both of them")
	}
	for i, text := range c.PolicySigners {
		key, err := proof.ParseSSHKey(text)
		if err != nil {
			return trust, fmt.Errorf("proof.policy_signers[%d]: %w", i, err)
		}
		trust.Signers = append(trust.Signers, key)
	}
	if f := c.PolicyFolder; f != "" && (path.Clean(f) != f || f == "." || strings.HasPrefix(f, "..") || path.IsAbs(f)) {
		return trust, fmt.Errorf("proof.policy_folder: %q, want a folder below the root of the repository", f)
	}
	if c.Since != "" && !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(c.Since) {
		return trust, fmt.Errorf("proof.since: %q, want the full name of a commit", c.Since)
	}
	if c.Console != "" {
		var err error
		if trust.Site, err = proof.ParseSite(c.Console); err != nil {
			return trust, fmt.Errorf("proof.console: %w", err)
		}
	}
	return trust, nil
}

// open opens the proofs; nil if no app needs them.
func (c proofConfig) open(kinds map[string]app.Kind, state string, log *slog.Logger) (*proxy.Proofs, error) {
	if c.isZero() {
		return nil, nil
	}
	trust, err := c.read()
	if err != nil {
		return nil, err
	}
	return proxy.OpenProofs(proxy.ProofConfig{
		Apps: c.Apps, Trust: trust, Since: c.Since, File: filepath.Join(state, proofsFile), Log: log,
		Catalogue: func(kind string) *scope.Catalogue {
			k, ok := kinds[kind]
			if !ok {
				return nil
			}
			return k.Catalogue()
		},
	})
}
