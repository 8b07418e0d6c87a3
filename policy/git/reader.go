package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/mayflyproxy/mayfly/proof"
)

// Limits of a policy folder.
const (
	maxObject = 1 << 20  // bytes of one commit, tree or file
	maxTotal  = 16 << 20 // bytes of all files
	maxFiles  = 10_000
	maxFolder = 16 // folders inside each other
)

// reader reads objects and hashes each again: a signature over a commit covers
// its files only as far as every name on the way is true.
type reader struct{ storer storer.Storer }

// object returns the object of that name and type.
func (in *reader) object(t plumbing.ObjectType, name plumbing.Hash) (*plumbing.MemoryObject, error) {
	fail := func(err error) error {
		return &Error{Reason: Unreadable, Message: fmt.Sprintf("%s %s cannot be read: %v", t, short(name.String()), err), cause: err}
	}
	o, err := in.storer.EncodedObject(t, name)
	if err != nil {
		return nil, fail(err)
	}
	if o.Size() > maxObject {
		return nil, &Error{Reason: BadFile, Message: fmt.Sprintf("%s %s has %d bytes, want at most %d", t, short(name.String()), o.Size(), maxObject)}
	}
	r, err := o.Reader()
	if err != nil {
		return nil, fail(err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxObject+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fail(err)
	}
	if err := checkName(t, b, name); err != nil {
		return nil, fail(err)
	}
	out := &plumbing.MemoryObject{}
	out.SetType(t)
	if _, err := out.Write(b); err != nil {
		return nil, fail(err)
	}
	return out, nil
}

// checkName reports whether b is what name names, and no made collision.
func checkName(t plumbing.ObjectType, b []byte, name plumbing.Hash) error {
	is, err := proof.Name(t.String(), b)
	if err != nil {
		return err
	}
	if is != name.String() {
		return errors.New("its content is not what its name says")
	}
	return nil
}

func (in *reader) commit(name string) (*object.Commit, error) {
	hash, err := parseName(name)
	if err != nil {
		return nil, err
	}
	o, err := in.object(plumbing.CommitObject, hash)
	if err != nil {
		return nil, err
	}
	c := &object.Commit{}
	if err := c.Decode(o); err != nil {
		return nil, &Error{Reason: Unreadable, Commit: name, Message: fmt.Sprintf("it is malformed: %v", err), cause: err}
	}
	return c, nil
}

func parseName(name string) (plumbing.Hash, error) {
	if !plumbing.IsHash(name) || strings.ToLower(name) != name {
		return plumbing.ZeroHash, &Error{Reason: Unreadable, Message: fmt.Sprintf("%.64q is no full name of a commit", name)}
	}
	return plumbing.NewHash(name), nil
}

func (in *reader) checkDescends(ctx context.Context, inForce, tip string) error {
	if inForce == "" {
		return nil
	}
	ok, err := in.isDescendant(ctx, inForce, tip)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{Reason: NotDescendant, Commit: tip, Message: "it does not descend from " + short(inForce) + ", which is in force"}
	}
	return nil
}

// isDescendant walks from newer to its ancestors, each once.
func (in *reader) isDescendant(ctx context.Context, older, newer string) (bool, error) {
	if _, err := parseName(older); err != nil {
		return false, err
	}
	seen, next := map[string]bool{newer: true}, []string{newer}
	for len(next) > 0 {
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("ancestry of %s: %w", short(newer), err)
		}
		name := next[0]
		if name == older {
			return true, nil
		}
		next = next[1:]
		c, err := in.commit(name)
		if err != nil {
			return false, err
		}
		for _, p := range c.ParentHashes {
			if !seen[p.String()] {
				seen[p.String()] = true
				next = append(next, p.String())
			}
		}
	}
	return false, nil
}

func (in *reader) files(ctx context.Context, commit, folder string) (map[string][]byte, error) {
	c, err := in.commit(commit)
	if err != nil {
		return nil, err
	}
	w := &walk{in: in, commit: commit, files: map[string][]byte{}}
	root, err := w.find(c.TreeHash, folder)
	if err != nil {
		return nil, err
	}
	if err := w.tree(ctx, root, "", 0); err != nil {
		return nil, err
	}
	return w.files, nil
}

// walk collects the files of one commit.
type walk struct {
	in     *reader
	commit string
	files  map[string][]byte
	total  int
}

func (w *walk) fail(format string, args ...any) error {
	return &Error{Reason: BadFile, Commit: w.commit, Message: fmt.Sprintf(format, args...)}
}

func (w *walk) entries(hash plumbing.Hash) ([]object.TreeEntry, error) {
	o, err := w.in.object(plumbing.TreeObject, hash)
	if err != nil {
		return nil, err
	}
	t := &object.Tree{}
	if err := t.Decode(o); err != nil {
		return nil, &Error{Reason: Unreadable, Commit: w.commit, Message: fmt.Sprintf("a folder is malformed: %v", err), cause: err}
	}
	return t.Entries, nil
}

func (w *walk) find(hash plumbing.Hash, folder string) (plumbing.Hash, error) {
	if folder == "" {
		return hash, nil
	}
	first, rest, _ := strings.Cut(folder, "/")
	entries, err := w.entries(hash)
	if err != nil {
		return hash, err
	}
	for _, e := range entries {
		if e.Name == first && e.Mode == filemode.Dir {
			return w.find(e.Hash, rest)
		}
	}
	return hash, w.fail("it has no folder %s", folder)
}

func (w *walk) tree(ctx context.Context, hash plumbing.Hash, dir string, depth int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("files of %s: %w", short(w.commit), err)
	}
	if depth > maxFolder {
		return w.fail("%s is more than %d folders deep", dir, maxFolder)
	}
	entries, err := w.entries(hash)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if !plainName(e.Name) || seen[strings.ToLower(e.Name)] {
			return w.fail("%q is no plain name, or is there twice", name)
		}
		seen[strings.ToLower(e.Name)] = true
		if err := w.entry(ctx, e, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(ctx context.Context, e object.TreeEntry, name string, depth int) error {
	switch e.Mode {
	case filemode.Dir:
		return w.tree(ctx, e.Hash, name, depth+1)
	case filemode.Regular, filemode.Executable:
		return w.file(e, name)
	case filemode.Symlink:
		return w.fail("%s is a symlink, want regular files", name)
	case filemode.Submodule:
		return w.fail("%s is a submodule, want regular files", name)
	default:
		return w.fail("%s has mode %s, want regular files", name, e.Mode)
	}
}

func (w *walk) file(e object.TreeEntry, name string) error {
	o, err := w.in.object(plumbing.BlobObject, e.Hash)
	if err != nil {
		return err
	}
	r, err := o.Reader()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	w.files[name] = b
	w.total += len(b)
	if len(w.files) > maxFiles || w.total > maxTotal {
		return w.fail("the policy folder has more than %d files or %d bytes", maxFiles, maxTotal)
	}
	return nil
}

// plainName reports whether every system reads a file name in the same way.
func plainName(s string) bool {
	if s == "" || s == "." || s == ".." || strings.EqualFold(s, ".git") || len(s) > 255 {
		return false
	}
	for _, r := range s {
		if r <= 0x20 || r >= 0x7f || strings.ContainsRune(`/\:*?"<>|~`, r) {
			return false
		}
	}
	return true
}
