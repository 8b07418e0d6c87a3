package audit_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
)

func logOf(t testing.TB, n int) *audittest.Memory {
	t.Helper()
	m := new(audittest.Memory)
	for i := range n {
		index, err := audit.Append(t.Context(), m, audit.Record{ID: recordID(i + 1), Type: audit.TypeLogin, Time: start(), Node: "mayflyd"})
		if err != nil || index != int64(i) {
			t.Fatalf("append %d: %d %v", i, index, err)
		}
	}
	return m
}

func TestAppendSetsSeqToTheIndex(t *testing.T) {
	m := logOf(t, 3)
	for i, leaf := range m.Leaves {
		r, err := audit.Decode(leaf)
		if err != nil || r.Seq != uint64(i) {
			t.Fatalf("leaf %d: seq %d, %v", i, r.Seq, err)
		}
	}
	if _, err := audit.Append(t.Context(), m, audit.Record{ID: recordID(9), Type: audit.TypeActionIntent, Time: start(), Node: "n"}); err == nil {
		t.Fatal("a spool's record was appended to the control log")
	}
	if len(m.Leaves) != 3 {
		t.Fatal("a refused record was stored")
	}
}

func TestP9_ProofsTieLeavesAndTreesToCheckpoints(t *testing.T) {
	ctx, m := t.Context(), logOf(t, 37)
	at := func(size int64) audit.Checkpoint {
		root, err := audit.TreeHash(ctx, m, size)
		if err != nil {
			t.Fatal(err)
		}
		return audit.Checkpoint{Origin: "acme.example/log", Size: size, Root: root}
	}
	for size := int64(1); size <= 37; size++ {
		for index := range size {
			proof, err := audit.ProveLeaf(ctx, m, size, index)
			if err != nil {
				t.Fatal(err)
			}
			if err := audit.CheckLeaf(proof, at(size), index, m.Leaves[index]); err != nil {
				t.Fatal(err)
			}
			if err := audit.CheckLeaf(proof, at(size), index, []byte("other")); err == nil {
				t.Fatal("another leaf was accepted")
			}
		}
		for old := range size + 1 {
			proof, err := audit.ProveTree(ctx, m, size, old)
			if err != nil {
				t.Fatal(err)
			}
			if err := audit.CheckTree(proof, at(size), at(old)); err != nil {
				t.Fatal(err)
			}
			bad := at(old)
			bad.Root[3]++
			if err := audit.CheckTree(proof, at(size), bad); err == nil {
				t.Fatalf("tree %d: another root at %d was accepted", size, old)
			}
		}
	}
	if _, err := audit.TreeHash(ctx, m, 38); err == nil {
		t.Error("a tree beyond the log has a root")
	}
	if _, err := audit.ProveLeaf(ctx, m, 37, 37); err == nil {
		t.Error("a leaf beyond the tree has a proof")
	}
	if err := audit.CheckTree(nil, at(3), at(5)); err == nil {
		t.Error("a shorter tree extends a longer one")
	}
}

func newKey(t testing.TB) (*audit.Signer, *audit.Verifier) {
	t.Helper()
	secret, public, err := audit.GenerateKey("acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := audit.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := audit.NewVerifier(public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestP9_CheckpointsAreSigned(t *testing.T) {
	s, v := newKey(t)
	signed, err := s.Sign(5, audit.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Open(signed)
	if err != nil || c != (audit.Checkpoint{Origin: "acme.example/log", Size: 5, Root: audit.Hash{7}}) {
		t.Fatalf("%+v %v", c, err)
	}
	if want := "acme.example/log\n5\nBwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 acme.example/log "; !strings.HasPrefix(string(signed), want) {
		t.Fatalf("note %q", signed)
	}
	_, other := newKey(t)
	if _, err := other.Open(signed); err == nil {
		t.Error("another key opened it")
	}
	for _, bad := range []string{strings.Replace(string(signed), "\n5\n", "\n6\n", 1), "", string(signed[:len(signed)-4]), "x" + string(signed)} {
		if c, err := v.Open([]byte(bad)); err == nil {
			t.Errorf("%q opened as %+v", bad, c)
		}
	}
	if _, err := s.Sign(-1, audit.Hash{}); err == nil {
		t.Error("a negative size was signed")
	}
}

func TestP9_CheckpointsOfAnotherLogAreRefused(t *testing.T) {
	secret, public, err := audit.GenerateKey("acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	v, err := audit.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		audit.Checkpoint{Origin: "acme.example/log", Size: 1}.Text():           true,
		audit.Checkpoint{Origin: "acme.example/other", Size: 1}.Text():         false,
		audit.Checkpoint{Origin: "acme.example/log", Size: 1}.Text() + "ext\n": false,
	} {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Open(signed); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSigningKeyNeverPrints(t *testing.T) {
	secret, public, err := audit.GenerateKey("acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := secret.MarshalText()
	if s := fmt.Sprintf("%v %+v %#v %s %s", secret, secret, secret, secret, text); strings.Contains(s, "PRIVATE") {
		t.Fatal(s)
	}
	again, err := audit.ParseSigningKey(secret.Reveal())
	if err != nil || again != secret {
		t.Fatalf("parse: %v", err)
	}
	if _, err := audit.ParseSigningKey(public); err == nil {
		t.Error("a public key was taken for a secret one")
	}
	for _, origin := range []string{"", "a b", "a+b", "a\nb"} {
		if _, _, err := audit.GenerateKey(origin); err == nil {
			t.Errorf("origin %q was accepted", origin)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(audit.Checkpoint{Origin: "o", Size: 5}.Text())
	f.Add("o\n05\nAA==\n")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := audit.ParseCheckpoint(text); err == nil && c.Text() != text {
			t.Fatalf("%q was read as %+v", text, c)
		}
	})
}

// A note is remembered whole: one that differs in anything from the one opened last is
// looked at itself.
func TestANoteThatWasOpenedOpensNoOther(t *testing.T) {
	s, v := newKey(t)
	note, err := s.Sign(7, audit.Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is remembered
		if c, err := v.Open(note); err != nil || c.Size != 7 {
			t.Fatalf("a good note: %v, %v", c, err)
		}
		for n := range note {
			other := bytes.Clone(note)
			other[n] ^= 1
			fresh, err := audit.NewVerifier(v.Key())
			if err != nil {
				t.Fatal(err)
			}
			_, want := fresh.Open(other) // a bit of the last character of base64 says nothing
			if _, err := v.Open(other); (err == nil) != (want == nil) {
				t.Fatalf("byte %d changed: %v, want %v", n, err, want)
			}
			if _, err := v.Open(note); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Open(note[:n]); err == nil {
				t.Fatalf("cut after %d bytes: opened", n)
			}
		}
	}
}
