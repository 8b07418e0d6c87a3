package git

import (
	"testing"

	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestACandidateProvesItself: with what comes beside its files, somebody without the
// repository finds its signature good, its files whole, and what it descends from.
func TestACandidateProvesItself(t *testing.T) {
	w := prooftest.New(t)
	first := w.Tip(t)
	w.Commit(t, map[string]string{"README.md": "prose\n"})
	w.Commit(t, map[string]string{"docs/README.md": "prose\n"})
	r, err := Open(Options{Location: w.Dir, Branch: "main", Folder: "policy"})
	if err != nil {
		t.Fatal(err)
	}
	signers := []policy.Signer{{Person: prooftest.Signer, Key: w.PublicKey(t, prooftest.Signer)}}
	for older, commits := range map[string]int{"": 1, first: 3} {
		c, err := r.Candidate(t.Context(), older, signers)
		if err != nil {
			t.Fatal(err)
		}
		o := c.Proof
		for _, b := range c.Files {
			o.Blobs = append(o.Blobs, b)
		}
		p, err := w.Trust(t).Read(c.Commit, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Commits) != commits || older != "" && !p.Descends(older) {
			t.Errorf("after %q: %d commits, want %d", older, len(o.Commits), commits)
		}
	}
}
