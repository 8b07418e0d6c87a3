package git

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/mayflyproxy/mayfly/proof"
)

// maxLineage is how many commits are shown at most: whoever has not heard of policy
// for longer cannot be shown that the newest one descends from what it knew.
const maxLineage = 256

// evidence returns the commit, the shortest line of commits from it to the older one
// ("" for none), the tree of the root, and each tree down to the files.
func (in *reader) evidence(ctx context.Context, older, tip, folder string) (proof.Objects, error) {
	var out proof.Objects
	line, err := in.line(ctx, older, tip)
	if err != nil {
		return out, err
	}
	for _, name := range line {
		b, err := in.content(plumbing.CommitObject, plumbing.NewHash(name))
		if err != nil {
			return out, err
		}
		out.Commits = append(out.Commits, b)
	}
	c, err := in.commit(tip)
	if err != nil {
		return out, err
	}
	out.Trees, err = in.trees(ctx, c.TreeHash, folder, 0, nil)
	return out, err
}

// line returns the commits from newer to older, both among them, as far as
// maxLineage; only newer if older is none.
func (in *reader) line(ctx context.Context, older, newer string) ([]string, error) {
	if older == "" {
		return []string{newer}, nil
	}
	child, next := map[string]string{newer: ""}, []string{newer}
	for len(next) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("ancestry of %s: %w", short(newer), err)
		}
		name := next[0]
		next = next[1:]
		if name == older {
			var out []string
			for ; name != ""; name = child[name] {
				out = append(out, name)
			}
			slices.Reverse(out)
			return out[:min(len(out), maxLineage)], nil
		}
		c, err := in.commit(name)
		if err != nil {
			return nil, err
		}
		for _, p := range c.ParentHashes {
			if _, seen := child[p.String()]; !seen {
				child[p.String()] = name
				next = append(next, p.String())
			}
		}
	}
	return nil, &Error{Reason: NotDescendant, Commit: newer, Message: "it does not descend from " + short(older)}
}

// trees appends the tree and those on the way to folder; from there on all below.
func (in *reader) trees(ctx context.Context, hash plumbing.Hash, folder string, depth int, out [][]byte) ([][]byte, error) {
	if err := ctx.Err(); err != nil || depth > 2*maxFolder || len(out) > maxFiles {
		return nil, &Error{Reason: BadFile, Message: "the folders are too deep or too many", cause: err}
	}
	b, err := in.content(plumbing.TreeObject, hash)
	if err != nil {
		return nil, err
	}
	out = append(out, b)
	entries, err := (&walk{in: in}).entries(hash)
	if err != nil {
		return nil, err
	}
	first, rest, _ := strings.Cut(folder, "/")
	for _, e := range entries {
		if e.Mode != filemode.Dir || folder != "" && e.Name != first {
			continue
		}
		if out, err = in.trees(ctx, e.Hash, rest, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// content returns the bytes of an object, whose name was checked.
func (in *reader) content(t plumbing.ObjectType, name plumbing.Hash) ([]byte, error) {
	o, err := in.object(t, name)
	if err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
