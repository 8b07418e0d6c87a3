package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/proof"
)

// policyLoop looks for a new commit and puts it in force, or has it wait. A commit that
// is refused is named once in the log; the one in force stays.
type policyLoop struct {
	service    *access.Service
	repository *git.Repository
	remote     *git.Remote     // nil: others bring commits into the repository
	pushed     <-chan struct{} // holds a value when somebody said that there is a new commit
	first      []policy.Signer // who may sign the first policy
	every      time.Duration
	applied    func(ctx context.Context) // called after another one is in force
	log        *slog.Logger

	said   string // what was wrong last, so that it is said once
	stuck  string // the commit that waits and cannot enter, as was said last
	told   string // the commit that applied was called for last
	proven bool   // the commit in force has its proof, or it was said that it has none
}

// run looks at once and then at each interval, until ctx ends.
func (l *policyLoop) run(ctx context.Context) error {
	tick, follow := time.NewTicker(l.every), time.NewTicker(followEvery)
	defer tick.Stop()
	defer follow.Stop()
	for {
		l.look(ctx)
		for waits := true; waits; {
			l.follow(ctx)
			select {
			case <-follow.C:
			case <-tick.C:
				waits = false
			case <-l.pushed:
				waits = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// followEvery is how often it is looked which policy is in force: a hold begins and ends
// without a commit.
const followEvery = time.Second

// follow tells that another policy is in force.
func (l *policyLoop) follow(ctx context.Context) {
	set, err := l.service.Policy(ctx)
	if err != nil || set.Commit() == l.told {
		return
	}
	l.told = set.Commit()
	l.applied(ctx)
}

func (l *policyLoop) look(ctx context.Context) {
	err := l.fetch(ctx)
	if err == nil {
		err = l.take(ctx)
	}
	switch {
	case err == nil:
		l.said = ""
	case ctx.Err() != nil:
	case refusalOf(err) != nil:
		no := refusalOf(err)
		if l.said != no.Commit+" "+no.Reason { // the words may tell the time
			l.said = no.Commit + " " + no.Reason
			l.log.ErrorContext(ctx, "policy commit refused, the one in force stays", "error", err)
		}
		l.noted(ctx, l.service.RefusePolicy(ctx, no.Commit, no.Reason, no.Words))
	case isLost(err):
		l.say(ctx, err, "the policy repository cannot be read, the policy in force stays")
		l.noted(ctx, l.service.LostPolicy(ctx))
	default: // another policy entered into force meanwhile, or the database is away
		l.say(ctx, err, "the policy repository was not looked at, tried again")
	}
}

// isLost reports whether the repository, not a commit, is what cannot be read.
func isLost(err error) bool {
	switch git.ReasonOf(err) {
	case git.Unreachable, git.Unreadable, git.NoBranch:
		return true
	default:
		return false
	}
}

// fetch brings new commits into the repository, if that is for mayflyd to do.
func (l *policyLoop) fetch(ctx context.Context) error {
	if l.remote == nil {
		return nil
	}
	return l.remote.Fetch(ctx)
}

// say logs what is wrong, once.
func (l *policyLoop) say(ctx context.Context, err error, what string) {
	if err.Error() == l.said {
		return
	}
	l.said = err.Error()
	l.log.ErrorContext(ctx, what, "error", err)
}

func (l *policyLoop) noted(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		l.log.ErrorContext(ctx, "what was seen of the policy repository is not written down", "error", err)
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

// refusalOf returns what is wrong with a commit, nil if it is something else that failed:
// a repository that cannot be read is an operator's matter.
func refusalOf(err error) *access.RefusedPolicy {
	var bad *git.Error
	var unfit *unfitError
	var few *access.RefusedPolicy
	switch {
	case errors.As(err, &few):
		return few
	case errors.As(err, &bad) && bad.Commit != "":
		return &access.RefusedPolicy{Commit: bad.Commit, Reason: string(bad.Reason), Words: err.Error()}
	case errors.As(err, &unfit):
		return &access.RefusedPolicy{Commit: unfit.commit, Reason: "policy", Words: err.Error()}
	default:
		return nil
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

// take puts the tip in force if it may be, else the newest commit before it that has
// waited for long enough.
func (l *policyLoop) take(ctx context.Context) error {
	commit, signers, err := l.inForce(ctx)
	if err != nil {
		return err
	}
	tip, err := l.repository.Head(ctx)
	if err != nil {
		return err
	}
	// First: what waits no more lends its wait to nothing.
	if err := l.withdraw(ctx, commit); err != nil {
		return err
	}
	candidate, refused := l.repository.Candidate(ctx, commit, signers)
	if refused == nil {
		var done bool
		if done, refused = l.apply(ctx, candidate, commit); done {
			return l.service.SawPolicy(ctx, tip)
		}
	}
	if git.ReasonOf(refused) == git.Unchanged {
		l.prove(ctx)
		refused = nil
	}
	if err := l.settled(ctx, tip); err != nil && refused == nil {
		return err
	}
	if refused != nil {
		return refused
	}
	return l.service.SawPolicy(ctx, tip)
}

// apply offers a commit, and reports whether it is in force now.
func (l *policyLoop) apply(ctx context.Context, c git.Candidate, after string) (bool, error) {
	offer := access.PolicyCommit{Files: c.Files, Commit: c.Commit, Signer: c.Signer.Person, After: after, Proof: c.Proof}
	for _, s := range c.Cosigners {
		offer.Cosigners = append(offer.Cosigners, s.Person)
	}
	for _, s := range c.Authors {
		offer.Authors = append(offer.Authors, s.Person)
	}
	result, err := l.service.ApplyPolicy(ctx, offer)
	var mistakes policy.Errors
	switch {
	case errors.As(err, &mistakes):
		return false, &unfitError{c.Commit, err}
	case err != nil:
		return false, fmt.Errorf("commit %s: %w", c.Commit, err)
	case result.Waits != nil:
		if result.Waits.New {
			l.log.WarnContext(ctx, "somebody gains by a policy commit: it waits", "commit", c.Commit, "signer", c.Signer.Person, "until", result.Waits.Until, "held", result.Waits.Held)
		}
		return false, nil
	}
	l.log.InfoContext(ctx, "policy in force", "commit", result.Commit, "digest", result.Digest, "signed", c.Signed, "grants_ended", len(result.Ended))
	l.follow(ctx)
	return true, nil
}

// withdraw forgets the commits that wait and are not on the branch any more, or do not
// come after the one in force.
func (l *policyLoop) withdraw(ctx context.Context, inForce string) error {
	waiting, err := l.service.Settling(ctx)
	if err != nil {
		return err
	}
	var gone []string
	for _, c := range waiting {
		may, err := l.repository.MayWait(ctx, c.Commit, inForce)
		if err != nil {
			return err
		}
		if !may {
			gone = append(gone, c.Commit)
		}
	}
	return l.service.WithdrawPolicy(ctx, gone)
}

// settled puts the newest commit in force that has waited for long enough. The tip was
// looked at before. One that cannot enter keeps no other one out.
func (l *policyLoop) settled(ctx context.Context, tip string) error {
	waiting, err := l.service.Settling(ctx)
	if err != nil {
		return err
	}
	for _, c := range slices.Backward(waiting) {
		if c.Commit == tip {
			continue
		}
		commit, signers, err := l.inForce(ctx)
		if err != nil {
			return err
		}
		candidate, err := l.repository.CandidateAt(ctx, c.Commit, commit, signers)
		done := false
		if err == nil {
			done, err = l.apply(ctx, candidate, commit)
		}
		switch {
		case done: // those that are older are behind it
			return l.withdraw(ctx, c.Commit)
		case err != nil && l.stuck != c.Commit: // its signer signs no more, or an exception in it is over
			l.stuck = c.Commit
			l.log.WarnContext(ctx, "a policy commit that waits cannot enter into force", "commit", c.Commit, "error", err)
		}
	}
	return nil
}

// inForce returns the commit in force and who may sign the next one.
func (l *policyLoop) inForce(ctx context.Context) (commit string, signers []policy.Signer, err error) {
	set, signers, err := l.service.NextSigners(ctx)
	if access.CodeOf(err) == access.CodeNoPolicy {
		return "", l.first, nil
	}
	if err != nil {
		return "", nil, err
	}
	return set.Commit(), signers, nil
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
