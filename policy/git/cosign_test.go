package git

import (
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mayflyproxy/mayfly/policy"
)

// changed is policy with another file.
func changed() map[string]string {
	files := policyFiles()
	files["policy/apps/wiki.yaml"] = "app: wiki\n"
	return files
}

func TestWhoSignedTheSameFilesIsCounted(t *testing.T) {
	alice, bob, carol, stranger := newKey(t), newKey(t), newKey(t), newKey(t)
	signers := []policy.Signer{listed("alice", alice), listed("bob", bob), listed("carol", carol), listed("carol", newKey(t))}
	for _, c := range []struct {
		name string
		make func(r *repo, first plumbing.Hash) plumbing.Hash // the commits below the tip
		want string
	}{
		{"nobody else", func(_ *repo, first plumbing.Hash) plumbing.Hash { return first }, ""},
		{"one, who changed the files", func(r *repo, first plumbing.Hash) plumbing.Hash {
			return r.commit(changed(), with(t, alice, signing{}), first)
		}, "alice"},
		{"two, and one unsigned between them", func(r *repo, first plumbing.Hash) plumbing.Hash {
			a := r.commit(changed(), with(t, alice, signing{}), first)
			return r.commit(changed(), with(t, bob, signing{}), r.commit(changed(), nil, a))
		}, "bob alice"},
		{"the same person twice", func(r *repo, first plumbing.Hash) plumbing.Hash {
			return r.commit(changed(), with(t, carol, signing{}), first)
		}, ""},
		{"one whom nobody lists", func(r *repo, first plumbing.Hash) plumbing.Hash {
			return r.commit(changed(), with(t, stranger, signing{}), first)
		}, ""},
		{"one whose signature does not hold", func(r *repo, first plumbing.Hash) plumbing.Hash {
			return r.commit(changed(), with(t, alice, signing{payload: func(b []byte) []byte { return append(b, '!') }}), first)
		}, ""},
		{"one who signed other files", func(r *repo, first plumbing.Hash) plumbing.Hash {
			other := changed()
			other["policy/apps/wiki.yaml"] = "app: wiki2\n"
			return r.commit(other, with(t, alice, signing{}), first)
		}, ""},
		{"one who signed the same files before others came between", func(r *repo, first plumbing.Hash) plumbing.Hash {
			a := r.commit(changed(), with(t, alice, signing{}), first)
			return r.commit(policyFiles(), with(t, bob, signing{}), a)
		}, ""},
		{"one on the other side of a merge", func(r *repo, first plumbing.Hash) plumbing.Hash {
			a := r.commit(changed(), with(t, alice, signing{}), first)
			return r.commit(changed(), nil, first, a)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			first := r.commit(policyFiles(), with(t, carol, signing{}))
			r.commit(changed(), with(t, carol, signing{}), c.make(r, first))
			got, err := r.open(false).Candidate(t.Context(), first.String(), signers)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range got.Cosigners {
				names = append(names, s.Person)
			}
			if got.Signer.Person != "carol" || strings.Join(names, " ") != c.want {
				t.Errorf("signed by %s, and by %q, want %q", got.Signer.Person, names, c.want)
			}
		})
	}
	t.Run("what is in force was signed by itself", func(t *testing.T) {
		r := newRepo(t)
		first := r.commit(policyFiles(), with(t, alice, signing{}))
		r.commit(policyFiles(), with(t, carol, signing{}), first)
		got, err := r.open(false).Candidate(t.Context(), first.String(), signers)
		if err != nil || len(got.Cosigners) != 0 {
			t.Errorf("%v, %v", got.Cosigners, err)
		}
	})
}

func TestAnEarlierCommitIsACandidateWhileItIsOnTheBranch(t *testing.T) {
	r, key := newRepo(t), newKey(t)
	signers := []policy.Signer{listed("carol", key)}
	first := r.commit(policyFiles(), with(t, key, signing{}))
	second := r.commit(changed(), with(t, key, signing{}), first)
	r.commit(policyFiles(), nil, second)
	at := func(commit, inForce plumbing.Hash) (Candidate, error) {
		return r.open(false).CandidateAt(t.Context(), commit.String(), inForce.String(), signers)
	}
	got, err := at(second, first)
	if err != nil || got.Commit != second.String() || got.Files["apps/wiki.yaml"] == nil {
		t.Errorf("%s, %v", got.Commit, err)
	}
	if _, err := at(second, second); ReasonOf(err) != Unchanged {
		t.Errorf("what is in force: %v", err)
	}
	if _, err := at(first, second); ReasonOf(err) != NotDescendant {
		t.Errorf("what was before: %v", err)
	}
	if _, err := r.open(false).CandidateAt(t.Context(), second.String(), first.String(), []policy.Signer{listed("bob", newKey(t))}); ReasonOf(err) != UnknownSigner {
		t.Errorf("its signer signs no more: %v", err)
	}
	r.commit(policyFiles(), with(t, key, signing{}), first) // somebody forced it away
	if _, err := at(second, first); ReasonOf(err) != OffBranch {
		t.Errorf("what was forced away: %v", err)
	}
}
