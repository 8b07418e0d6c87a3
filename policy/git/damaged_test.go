package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mayflyproxy/mayfly/policy"
)

// line is three signed commits of one policy.
func line(t *testing.T) (r *repo, key policy.Signer, commits [3]string) {
	t.Helper()
	r = newRepo(t)
	signer := newKey(t)
	first := r.commit(policyFiles(), with(t, signer, signing{}))
	second := r.commit(changed(), with(t, signer, signing{}), first)
	third := r.commit(policyFiles(), with(t, signer, signing{}), second)
	return r, listed("carol", signer), [3]string{first.String(), second.String(), third.String()}
}

// workTree is a folder below one that belongs to the repository, as people have it.
func (r *repo) workTree() string {
	r.t.Helper()
	dir := r.t.TempDir()
	r.must(os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: "+r.dir+"\n"), 0o600))
	below := filepath.Join(dir, "below")
	r.must(os.Mkdir(below, 0o700))
	return below
}

// What a repository says of its history is what its objects say.
func TestARepositoryAnswersForItsHistory(t *testing.T) {
	r, carol, commits := line(t)
	here, ctx := r.open(false), t.Context()
	for _, c := range []struct {
		older, newer string
		want         bool
	}{{commits[0], commits[2], true}, {commits[1], commits[1], true}, {commits[2], commits[0], false}} {
		if got, err := here.IsDescendant(ctx, c.older, c.newer); err != nil || got != c.want {
			t.Errorf("%s after %s: %t, %v", c.newer, c.older, got, err)
		}
	}
	for _, c := range []struct {
		commit, inForce string
		want            bool
	}{{commits[1], commits[0], true}, {commits[1], commits[1], false}, {commits[0], commits[1], false}, {commits[2], "", false}} {
		if c.inForce == "" { // the tip goes back: what waits is not on the branch any more
			r.must(r.git.Storer.SetReference(headOf(commits[1])))
			c.inForce = commits[0]
		}
		if got, err := here.MayWait(ctx, c.commit, c.inForce); err != nil || got != c.want {
			t.Errorf("%s may wait after %s: %t, %v", c.commit, c.inForce, got, err)
		}
	}
	if s, err := here.Verify(ctx, commits[0], []policy.Signer{carol}); err != nil || s.Person != "carol" {
		t.Errorf("signed by %q, %v", s.Person, err)
	}
	if s, err := here.Verify(ctx, commits[0], []policy.Signer{listed("bob", newKey(t))}); err == nil || s.Person != "" {
		t.Errorf("of others: signed by %q, %v", s.Person, err)
	}
	if p, err := here.Proof(ctx, commits[0]); err != nil || len(p.Commits) != 1 || len(p.Trees) == 0 {
		t.Errorf("the proof is %d commits and %d folders, %v", len(p.Commits), len(p.Trees), err)
	}
}

// A commit is named as git names it, and says which it is.
func TestFilesOfANamedCommit(t *testing.T) {
	r, _, commits := line(t)
	tree := r.workTree()
	for name, want := range map[string]string{"main": commits[2], "main~1": commits[1], commits[0]: commits[0], commits[0][:12]: commits[0]} {
		files, commit, err := FilesAt(t.Context(), tree, "policy", name)
		if err != nil || commit != want || len(files["mayfly.yaml"]) == 0 || files["README.md"] != nil {
			t.Errorf("%s is %s with %d files, %v; want %s", name, commit, len(files), err, want)
		}
	}
	if _, _, err := FilesAt(t.Context(), tree, "policy", "no-such-branch"); ReasonOf(err) != Unreadable {
		t.Errorf("a name of nothing: %v", err)
	}
	if _, _, err := FilesAt(t.Context(), t.TempDir(), "policy", "main"); ReasonOf(err) != Unreadable {
		t.Errorf("a folder without a repository: %v", err)
	}
	if _, _, err := FilesAt(t.Context(), tree, "elsewhere", "main"); err == nil {
		t.Error("a folder that is not there has files")
	}
}

// One object of the repository is gone, or is another one, each in its turn: what is asked
// of it fails, or is answered as before. It is never answered otherwise.
func TestADamagedRepositoryMisleadsNobody(t *testing.T) {
	r, carol, commits := line(t)
	tree := r.workTree()
	here, ctx := r.open(false), t.Context()
	ask := func() map[string]string {
		out := map[string]string{}
		say := func(name string, v any, err error) {
			if err == nil {
				out[name] = fmt.Sprintf("%+v", v)
			}
		}
		c, err := here.Candidate(ctx, commits[0], []policy.Signer{carol})
		say("candidate", c, err)
		c, err = here.CandidateAt(ctx, commits[1], commits[0], []policy.Signer{carol})
		say("candidate at", c, err)
		on, err := here.IsDescendant(ctx, commits[0], commits[2])
		say("descendant", on, err)
		may, err := here.MayWait(ctx, commits[1], commits[0])
		say("may wait", may, err)
		s, err := here.Verify(ctx, commits[1], []policy.Signer{carol})
		say("signer", s, err)
		p, err := here.Proof(ctx, commits[2])
		say("proof", p, err)
		f, commit, err := FilesAt(ctx, tree, "policy", commits[2])
		if commit != commits[2] { // it says itself that these are of another one
			err = os.ErrNotExist
		}
		say("files", f, err)
		return out
	}
	whole := ask()
	if len(whole) != 7 {
		t.Fatalf("of a whole repository it says %v", whole)
	}
	objects, err := filepath.Glob(filepath.Join(r.dir, "objects", "??", "*"))
	r.must(err)
	failed := map[string]bool{}
	for i, path := range objects {
		good, err := os.ReadFile(path)
		r.must(err)
		other, err := os.ReadFile(objects[(i+1)%len(objects)])
		r.must(err)
		for damage, do := range map[string]func() error{
			"gone":    func() error { return os.Remove(path) },
			"empty":   func() error { return replace(path, nil) },
			"another": func() error { return replace(path, other) },
		} {
			r.must(do())
			for name, want := range whole {
				got, answered := ask()[name]
				if !answered {
					failed[name] = true
				} else if !reflect.DeepEqual(got, want) {
					t.Errorf("%s of %s: %s is %s", filepath.Base(path), damage, name, got)
				}
			}
			r.must(replace(path, good))
		}
	}
	if len(failed) != len(whole) {
		t.Errorf("damage hurt only %v", failed)
	}
	r.must(os.RemoveAll(r.dir))
	if got := ask(); len(got) != 0 {
		t.Errorf("of a repository that is gone it says %v", got)
	}
}

// replace writes a file anew: git makes its objects read-only.
func replace(path string, b []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// A branch that only points to another name is no commit that anybody signed.
func TestABranchThatPointsElsewhereIsNone(t *testing.T) {
	r, carol, _ := line(t)
	r.must(os.WriteFile(filepath.Join(r.dir, "refs", "heads", "main"), []byte("ref: refs/heads/other\n"), 0o600))
	if _, err := r.open(false).Candidate(t.Context(), "", []policy.Signer{carol}); ReasonOf(err) != NoBranch {
		t.Errorf("%v", err)
	}
}

// A file with anything but a token in it is never sent to a forge.
func TestATokenFileHoldsATokenOnly(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "a line break": "\n", "two words": "a b", "two lines": "a\nb\n"} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		remote, err := OpenRemote(RemoteOptions{URL: "https://forge.acme.example/policy.git", Branch: "main", Dir: filepath.Join(t.TempDir(), "here.git"), User: "mayfly", TokenFile: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Fetch(t.Context()); ReasonOf(err) != Unreachable || !strings.Contains(err.Error(), "want a token") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func headOf(commit string) *plumbing.Reference {
	return plumbing.NewHashReference("refs/heads/main", plumbing.NewHash(commit))
}

// Whoever has no time any more gets no answer, and above all no other one.
func TestAnEndedContextIsNoAnswer(t *testing.T) {
	r, carol, commits := line(t)
	here := r.open(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, candidate := here.Candidate(ctx, commits[0], []policy.Signer{carol})
	on, descendant := here.IsDescendant(ctx, commits[0], commits[2])
	may, wait := here.MayWait(ctx, commits[1], commits[0])
	_, evidence := here.Proof(ctx, commits[2])
	files, read := here.Files(ctx, commits[2])
	if on || may || len(files) > 0 {
		t.Errorf("descends %t, may wait %t, files %v", on, may, files)
	}
	for name, err := range map[string]error{"candidate": candidate, "descendant": descendant, "wait": wait, "proof": evidence, "files": read} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if on, err := here.IsDescendant(t.Context(), "main", commits[2]); on || err == nil {
		t.Errorf("a branch for a commit: %t, %v", on, err)
	}
}

// What git would take for its own, or a path for another folder, is no file of a policy.
func TestNamesThatMeanSomethingElse(t *testing.T) {
	for _, name := range []string{".git", ".GIT", "..", ".", strings.Repeat("a", 256)} {
		r := newRepo(t)
		r.commit(map[string]string{"policy/mayfly.yaml": "organisation: acme\n", "policy/" + name: "x"}, nil)
		if files, err := r.open(true).Files(t.Context(), r.tip.String()); err == nil || len(files) > 0 {
			t.Errorf("%.20q is taken: %d files, %v", name, len(files), err)
		}
	}
}

// What a fetch is configured with and is not there stops it before anybody is asked.
func TestAFetchWithoutItsFiles(t *testing.T) {
	for name, o := range map[string]RemoteOptions{
		"token": {User: "mayfly", TokenFile: filepath.Join(t.TempDir(), "missing")},
		"roots": {CAFile: filepath.Join(t.TempDir(), "missing")},
	} {
		o.URL, o.Branch, o.Dir = "https://forge.acme.example/policy.git", "main", filepath.Join(t.TempDir(), "here.git")
		remote, err := OpenRemote(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Fetch(t.Context()); ReasonOf(err) != Unreachable || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
