package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/proof"
)

// policyLoop looks for a new commit and puts it in force. A commit that is
// refused is named once in the log; the one in force stays.
type policyLoop struct {
	service    *access.Service
	repository *git.Repository
	first      []policy.Signer // who may sign the first policy
	every      time.Duration
	applied    func(ctx context.Context) // called after each one that entered into force
	log        *slog.Logger

	refused string // what was said last, so that it is said once
	proven  bool   // the commit in force has its proof, or it was said that it has none
}

// run looks at once and then at each interval, until ctx ends.
func (l *policyLoop) run(ctx context.Context) error {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		l.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *policyLoop) look(ctx context.Context) {
	err := l.take(ctx)
	switch {
	case err == nil:
		l.refused = ""
	case git.ReasonOf(err) == git.Unchanged:
		l.prove(ctx)
	case ctx.Err() != nil:
	case err.Error() != l.refused:
		l.refused = err.Error()
		l.log.ErrorContext(ctx, "policy commit refused, the one in force stays", "error", err)
		l.record(ctx, err)
	}
}

// prove keeps, once, what proves the commit in force: it may have entered into force
// under a mayflyd that kept no proofs.
func (l *policyLoop) prove(ctx context.Context) {
	if l.proven {
		return
	}
	l.proven = true
	set, err := l.service.Policy(ctx)
	if err == nil {
		var objects proof.Objects
		if objects, err = l.repository.Proof(ctx, set.Commit()); err == nil {
			err = l.service.ProvePolicy(ctx, set.Commit(), objects)
		}
	}
	if err != nil {
		l.log.WarnContext(ctx, "the policy in force has no proof: gateways that want one will refuse grants", "error", err)
	}
}

// record puts a refusal of a commit on the record; a repository that cannot be
// read is an operator's matter.
func (l *policyLoop) record(ctx context.Context, refusal error) {
	commit, reason := "", "policy"
	var bad *git.Error
	var unfit *unfitError
	switch {
	case errors.As(refusal, &bad) && bad.Commit != "":
		commit, reason = bad.Commit, string(bad.Reason)
	case errors.As(refusal, &unfit):
		commit = unfit.commit
	default:
		return
	}
	if err := l.service.RefusePolicy(ctx, commit, reason, refusal.Error()); err != nil {
		l.log.ErrorContext(ctx, "the refusal of a policy commit is not on the record", "error", err)
	}
}

// unfitError is a signed commit whose files are no policy.
type unfitError struct {
	commit string
	cause  error
}

// Error names the commit and what is wrong with its files.
func (e *unfitError) Error() string { return "commit " + e.commit + ": " + e.cause.Error() }

// Unwrap returns what is wrong.
func (e *unfitError) Unwrap() error { return e.cause }

func (l *policyLoop) take(ctx context.Context) error {
	commit, signers, err := l.inForce(ctx)
	if err != nil {
		return err
	}
	candidate, err := l.repository.Candidate(ctx, commit, signers)
	if err != nil {
		return err
	}
	result, err := l.service.ApplyPolicy(ctx, access.PolicyCommit{
		Files: candidate.Files, Commit: candidate.Commit, Signer: candidate.Signer.Person, After: commit, Proof: candidate.Proof,
	})
	var mistakes policy.Errors
	if errors.As(err, &mistakes) {
		return &unfitError{candidate.Commit, err}
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", candidate.Commit, err)
	}
	l.log.InfoContext(ctx, "policy in force", "commit", result.Commit, "digest", result.Digest, "signed", candidate.Signed, "grants_ended", len(result.Ended))
	l.applied(ctx)
	return nil
}

// inForce returns the commit in force and who may sign the next one.
func (l *policyLoop) inForce(ctx context.Context) (commit string, signers []policy.Signer, err error) {
	set, err := l.service.Policy(ctx)
	if access.CodeOf(err) == access.CodeNoPolicy {
		return "", l.first, nil
	}
	if err != nil {
		return "", nil, err
	}
	return set.Commit(), set.Signers(), nil
}

// readFirstSigner reads lines of a person's name and an OpenSSH public key.
func readFirstSigner(path string) ([]policy.Signer, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy.first_signer: %w", err)
	}
	var out []policy.Signer
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: want lines of a person's name, a key's algorithm and the key", path)
		}
		out = append(out, policy.Signer{Person: fields[0], Key: fields[1] + " " + fields[2]})
	}
	if len(out) == 0 {
		return nil, errors.New(path + ": no signer")
	}
	return out, nil
}
