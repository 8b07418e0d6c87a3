package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

// Options say where policy lies. Location and Branch are required.
type Options struct {
	Location string // a directory, with or without work tree, or a file:// URL of one
	Branch   string // such as main
	Folder   string // slash path of the policy folder, "" for the root
	Dev      bool   // accepts unsigned commits, as --dev says everywhere
}

// Repository reads one branch. It keeps nothing between calls but its Options
// and is safe for concurrent use.
type Repository struct {
	dir    string
	branch plumbing.ReferenceName
	folder string
	dev    bool
}

// Candidate is a commit that may enter into force, if its files load.
type Candidate struct {
	Commit string            // hex
	Files  map[string][]byte // by slash path below the folder
	Signer policy.Signer     // zero if Signed is false
	// Cosigners signed the same files: each a commit below this one, in one line, that
	// changes nothing. Other persons than Signer, each once.
	Cosigners []policy.Signer
	// Authors signed anything of it: the tip, or a commit before it that is not in force.
	// They count as signers of nothing.
	Authors []policy.Signer
	Signed  bool // false only with Options.Dev
	// Proof are the objects by which somebody without the repository can check the
	// signature and walk to the files: the commit, those between it and the one in
	// force, and every folder on the way. The files are in Files.
	Proof proof.Objects
}

// Open checks o and that there is a repository.
func Open(o Options) (*Repository, error) {
	dir, err := directory(o.Location)
	if err != nil {
		return nil, err
	}
	r := &Repository{dir: dir, branch: plumbing.NewBranchReferenceName(o.Branch), folder: o.Folder, dev: o.Dev}
	if err := r.branch.Validate(); o.Branch == "" || err != nil {
		return nil, &Error{Reason: NoBranch, Message: fmt.Sprintf("%q is no name of a branch", o.Branch), cause: err}
	}
	if o.Folder != "" && (path.Clean(o.Folder) != o.Folder || path.IsAbs(o.Folder) || strings.HasPrefix(o.Folder, "..") || o.Folder == ".") {
		return nil, &Error{Reason: BadFile, Message: fmt.Sprintf("%q is no clean folder below the root", o.Folder)}
	}
	_, err = r.open()
	return r, err
}

func directory(location string) (string, error) {
	if !strings.Contains(location, "://") {
		if location == "" {
			return "", &Error{Reason: Unreadable, Message: "no location of the policy repository"}
		}
		return filepath.Clean(location), nil
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || u.Path == "" {
		return "", &Error{Reason: Unreadable, Message: "want a directory or a file:// URL", cause: err}
	}
	return filepath.Clean(u.Path), nil
}

// open opens the repository anew, so that packs and branches which others wrote
// meanwhile are seen.
func (r *Repository) open() (*reader, error) {
	repo, err := gogit.PlainOpen(r.dir)
	if err != nil {
		return nil, &Error{Reason: Unreadable, Message: fmt.Sprintf("the repository %s cannot be opened: %v", r.dir, err), cause: err}
	}
	return &reader{storer: repo.Storer}, nil
}

// Head returns the hex name of the commit at the tip of the branch.
func (r *Repository) Head(context.Context) (string, error) {
	in, err := r.open()
	if err != nil {
		return "", err
	}
	return r.head(in)
}

func (r *Repository) head(in *reader) (string, error) {
	ref, err := in.storer.Reference(r.branch)
	switch {
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		return "", &Error{Reason: NoBranch, Message: fmt.Sprintf("there is no branch %s", r.branch.Short())}
	case err != nil:
		return "", &Error{Reason: Unreadable, Message: fmt.Sprintf("branch %s: %v", r.branch.Short(), err), cause: err}
	case ref.Type() != plumbing.HashReference:
		return "", &Error{Reason: NoBranch, Message: fmt.Sprintf("branch %s points to another name, not to a commit", r.branch.Short())}
	}
	return ref.Hash().String(), nil
}

// Files returns the regular files of the policy folder in a commit. Symlinks,
// submodules and names that two systems read differently are refused, not left out.
func (r *Repository) Files(ctx context.Context, commit string) (map[string][]byte, error) {
	in, err := r.open()
	if err != nil {
		return nil, err
	}
	return in.files(ctx, commit, r.folder)
}

// IsDescendant reports whether newer is older, or has it among its ancestors.
func (r *Repository) IsDescendant(ctx context.Context, older, newer string) (bool, error) {
	in, err := r.open()
	if err != nil {
		return false, err
	}
	return in.isDescendant(ctx, older, newer)
}

// Verify returns who of signers signed a commit. Its error says in which way
// nobody did.
func (r *Repository) Verify(_ context.Context, commit string, signers []policy.Signer) (policy.Signer, error) {
	in, err := r.open()
	if err != nil {
		return policy.Signer{}, err
	}
	return in.verify(commit, signers)
}

// Proof returns the objects that prove a commit, as Candidate does for the tip, but
// for the line of commits before it.
func (r *Repository) Proof(ctx context.Context, commit string) (proof.Objects, error) {
	in, err := r.open()
	if err != nil {
		return proof.Objects{}, err
	}
	return in.evidence(ctx, "", commit, r.folder)
}

// Candidate returns the tip, if it may enter into force: it descends from the
// commit in force ("" for the first), and one of the signers that the policy in
// force lists signed it. With Options.Dev a commit without any signature passes.
// A tip that is in force already is an *Error with Unchanged.
func (r *Repository) Candidate(ctx context.Context, inForce string, signers []policy.Signer) (Candidate, error) {
	in, err := r.open()
	if err != nil {
		return Candidate{}, err
	}
	tip, err := r.head(in)
	if err != nil {
		return Candidate{}, err
	}
	return r.candidate(ctx, in, tip, inForce, signers)
}

// CandidateAt is Candidate for an earlier commit, which must still be on the branch: one
// that was taken off it is an *Error with OffBranch.
func (r *Repository) CandidateAt(ctx context.Context, commit, inForce string, signers []policy.Signer) (Candidate, error) {
	in, err := r.open()
	if err != nil {
		return Candidate{}, err
	}
	tip, err := r.head(in)
	if err != nil {
		return Candidate{}, err
	}
	switch on, err := in.isDescendant(ctx, commit, tip); {
	case err != nil:
		return Candidate{}, err
	case !on:
		return Candidate{}, &Error{Reason: OffBranch, Commit: commit, Message: "it is not on the branch any more"}
	}
	return r.candidate(ctx, in, commit, inForce, signers)
}

// MayWait reports whether a commit that waits may go on: it is on the branch, and comes
// after the one in force.
func (r *Repository) MayWait(ctx context.Context, commit, inForce string) (bool, error) {
	in, err := r.open()
	if err != nil {
		return false, err
	}
	tip, err := r.head(in)
	if err != nil {
		return false, err
	}
	if commit == inForce {
		return false, nil
	}
	for _, line := range [][2]string{{commit, tip}, {inForce, commit}} {
		if on, err := in.isDescendant(ctx, line[0], line[1]); err != nil || !on {
			return false, err
		}
	}
	return true, nil
}

func (r *Repository) candidate(ctx context.Context, in *reader, tip, inForce string, signers []policy.Signer) (Candidate, error) {
	if tip == inForce {
		return Candidate{}, &Error{Reason: Unchanged, Commit: tip, Message: "it is in force already"}
	}
	if err := in.checkDescends(ctx, inForce, tip); err != nil {
		return Candidate{}, err
	}
	out := Candidate{Commit: tip, Signed: true}
	var err error
	if out.Signer, err = in.verify(tip, signers); err != nil {
		if !r.dev || ReasonOf(err) != Unsigned {
			return Candidate{}, err
		}
		out.Signed = false
	} else if out.Cosigners, err = in.cosigners(tip, inForce, out.Signer, signers); err != nil {
		return Candidate{}, err
	}
	if out.Authors, err = in.authors(ctx, tip, inForce, signers); err != nil {
		return Candidate{}, err
	}
	if out.Files, err = in.files(ctx, tip, r.folder); err != nil {
		return Candidate{}, err
	}
	out.Proof, err = in.evidence(ctx, inForce, tip, r.folder)
	return out, err
}
