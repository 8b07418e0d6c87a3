package git

import (
	"context"
	"fmt"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// FilesAt returns the regular files of a folder ("" for the root) in a commit of the
// repository that dir lies in, and the commit's full name. The commit may be named as
// git rev-parse takes it: a branch, a tag, HEAD~1, a hash or the beginning of one. It
// says nothing about whether the commit is signed, or in force anywhere.
func FilesAt(ctx context.Context, dir, folder, name string) (files map[string][]byte, commit string, err error) {
	repo, err := gogit.PlainOpenWithOptions(dir, &gogit.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return nil, "", &Error{Reason: Unreadable, Message: fmt.Sprintf("the repository %s cannot be opened: %v", dir, err), cause: err}
	}
	hash, err := repo.ResolveRevision(plumbing.Revision(name))
	if err != nil {
		return nil, "", &Error{Reason: Unreadable, Message: fmt.Sprintf("%.64q names no commit: %v", name, err), cause: err}
	}
	files, err = (&reader{storer: repo.Storer}).files(ctx, hash.String(), folder)
	return files, hash.String(), err
}
