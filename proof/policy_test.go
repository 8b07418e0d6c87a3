package proof_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestOnlySignedFilesAreRead: every object on the way from the commit to a file is
// what its name says, and the commit is signed by whom the gateway trusts.
func TestOnlySignedFilesAreRead(t *testing.T) {
	w := prooftest.New(t)
	commit := w.Tip(t)
	swap := func(list [][]byte, old, now string) {
		for i, b := range list {
			if bytes.Contains(b, []byte(old)) {
				list[i] = bytes.ReplaceAll(b, []byte(old), []byte(now))
			}
		}
	}
	for _, a := range []struct {
		name   string
		change func(*proof.Objects, *proof.Trust)
		want   string
	}{
		{"as it is", func(*proof.Objects, *proof.Trust) {}, ""},
		{"another approver key in the file", func(o *proof.Objects, _ *proof.Trust) {
			swap(o.Blobs, w.PublicKey(t, prooftest.Approver), w.PublicKey(t, prooftest.Stranger))
		}, "is not there"},
		{"another approver in the file", func(o *proof.Objects, _ *proof.Trust) { swap(o.Blobs, "[bob, erin, alice]", "[mallory, bob]") }, "" /* it is not shown then, see below */},
		{"another name in a folder", func(o *proof.Objects, _ *proof.Trust) { swap(o.Trees, "mayfly.yaml", "Mayfly.yaml") }, "is not there"},
		{"another tree in the commit", func(o *proof.Objects, _ *proof.Trust) { swap(o.Commits, "\nauthor carol", "\nauthor Carol") }, "is not there"},
		{"no file", func(o *proof.Objects, _ *proof.Trust) { o.Blobs = nil }, "is not there"},
		{"no folder", func(o *proof.Objects, _ *proof.Trust) { o.Trees = o.Trees[1:] }, "is not there"},
		{"no commit", func(o *proof.Objects, _ *proof.Trust) { o.Commits = nil }, "is not there"},
		{"another folder of the repository", func(_ *proof.Objects, t *proof.Trust) { t.Folder = "" }, "no mayfly.yaml"},
		{"nobody is trusted", func(_ *proof.Objects, t *proof.Trust) { t.Signers = nil }, "no signer of the configuration"},
		{"another is trusted", func(_ *proof.Objects, trust *proof.Trust) {
			key, err := proof.ParseSSHKey(w.PublicKey(t, prooftest.Stranger))
			if err != nil {
				t.Fatal(err)
			}
			trust.Signers = []ssh.PublicKey{key}
		}, "no signer of the configuration"},
		{"an object too large", func(o *proof.Objects, _ *proof.Trust) { o.Blobs = append(o.Blobs, make([]byte, proof.MaxObject+1)) }, "bytes, want at most"},
	} {
		t.Run(a.name, func(t *testing.T) {
			o, trust := w.Objects(t, commit), w.Trust(t)
			for _, list := range [][][]byte{o.Commits, o.Trees, o.Blobs} {
				for i := range list {
					list[i] = bytes.Clone(list[i])
				}
			}
			a.change(&o, &trust)
			p, err := trust.Read(commit, o)
			refused(t, err, a.want)
			if err == nil && strings.Contains(a.name, "approver in the file") {
				_, err = p.Check(w.Claim(t))
				refused(t, err, "does not show the entitlement")
			}
		})
	}
}

// TestCommitsOfOthers: a commit that a stranger made, or nobody signed, proves
// nothing, even on top of a signed one.
func TestCommitsOfOthers(t *testing.T) {
	w := prooftest.New(t)
	for who, want := range map[string]string{"": "not signed", prooftest.Stranger: "no signer of the configuration"} {
		commit := w.CommitBy(t, who, map[string]string{"README.md": who + "\n"})
		_, err := w.Trust(t).Read(commit, w.Objects(t, commit))
		refused(t, err, want)
	}
}

// TestASignatureIsOfItsCommit: the signature of an older commit under a new tree.
func TestASignatureIsOfItsCommit(t *testing.T) {
	w := prooftest.New(t)
	old := w.Objects(t, w.Tip(t)).Commits[0]
	forged := bytes.Replace(old, []byte("policy: change"), []byte("policy: chanGe"), 1)
	name, err := proof.Name("commit", forged)
	if err != nil {
		t.Fatal(err)
	}
	o := w.Objects(t, w.Tip(t))
	o.Commits = append(o.Commits, forged)
	_, err = w.Trust(t).Read(name, o)
	refused(t, err, "signature does not hold")
}

// TestDescent: a commit is shown to come after another only by the commits between.
func TestDescent(t *testing.T) {
	w := prooftest.New(t)
	first := w.Tip(t)
	middle := w.Commit(t, map[string]string{"README.md": "1\n"})
	last := w.Commit(t, map[string]string{"README.md": "2\n"})
	whole := w.Objects(t, last)
	p, err := w.Trust(t).Read(last, whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{first, middle, last} {
		if !p.Descends(c) {
			t.Errorf("%s is not shown to come after %s", last, c)
		}
	}
	whole.Commits = whole.Commits[:1]
	if p, err = w.Trust(t).Read(last, whole); err != nil {
		t.Fatal(err)
	}
	if p.Descends(first) || !p.Descends(middle) {
		t.Error("a commit that is not there was believed")
	}
}

// TestFilesThatCouldBeReadInTwoWays are not read at all.
func TestFilesThatCouldBeReadInTwoWays(t *testing.T) {
	w := prooftest.New(t)
	files := w.Files(t)
	for name, c := range map[string]struct{ file, old, now, want string }{
		"a key twice":              {"mayfly.yaml", "people:\n", "people: []\npeople:\n", "cannot be read"},
		"an anchor":                {"mayfly.yaml", "accounts: [\"user:idp:bob\"]", "accounts: &a [\"user:idp:bob\"]", "not used here"},
		"a person twice":           {"mayfly.yaml", "{person: mallory,", "{person: bob,", "twice"},
		"an account of two":        {"mayfly.yaml", "user:idp:mallory", "user:idp:bob", "an account of"},
		"a key of two":             {"mayfly.yaml", w.PublicKey(t, prooftest.Stranger), w.PublicKey(t, prooftest.Approver), "a key of"},
		"a key in other words":     {"mayfly.yaml", w.PublicKey(t, prooftest.Stranger), strings.Replace(w.PublicKey(t, prooftest.Approver), " ", "  ", 1), "a key of"},
		"a passkey of two ids":     {"mayfly.yaml", `{ssh: "` + w.PublicKey(t, prooftest.Stranger) + `"}`, `{passkey: "AAAA` + w.PasskeyText(t) + `"}`, "a key of"},
		"a key that is none":       {"mayfly.yaml", "passkey: ", "passkey: x", "passkey"},
		"a person with more":       {"mayfly.yaml", "{person: carol,", "{person: carol, until: never,", "not known here"},
		"a rule that narrows":      {"entitlements/reports/read.yaml", "count: 2,", "count: 2, all: [bob],", "not known here"},
		"signed, and by rule":      {"entitlements/reports/read.yaml", "  signed: true\n", "  signed: true\n  auto: {when: \"true\"}\n", "by rule"},
		"a count of none":          {"entitlements/reports/read.yaml", "count: 2", "count: 0", "no number"},
		"a name in two files":      {"entitlements/reports/rule.yaml", "entitlement: reports/rule", "entitlement: reports/read", "another file too"},
		"a budget not known here":  {"entitlements/reports/read.yaml", "grant: {max: 1h,", "grant: {budget: 5, max: 1h,", "not known here"},
		"a limit without a value":  {"entitlements/reports/read.yaml", "where: {path: {under: $folder}}", "where: {path: {under: }}", "want"},
		"a limit without anything": {"entitlements/reports/read.yaml", "where: {path: {under: $folder}}", "where: {path: {}}", "want a comparison"},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := strings.Replace(files[c.file], c.old, c.now, 1)
			if spoilt == files[c.file] {
				t.Fatalf("%q is not in %s", c.old, c.file)
			}
			commit := w.Commit(t, map[string]string{"mayfly.yaml": files["mayfly.yaml"], "entitlements/reports/read.yaml": files["entitlements/reports/read.yaml"],
				"entitlements/reports/rule.yaml": files["entitlements/reports/rule.yaml"], c.file: spoilt})
			_, err := w.Trust(t).Read(commit, w.Objects(t, commit))
			refused(t, err, c.want)
		})
	}
}

// TestObjectsThatAreMalformed are not guessed at.
func TestObjectsThatAreMalformed(t *testing.T) {
	w := prooftest.New(t)
	good := w.Objects(t, w.Tip(t)).Commits[0]
	tree := bytes.SplitN(good, []byte("\n"), 2)[0]
	for name, spoilt := range map[string][]byte{
		"two trees":      append(append(bytes.Clone(tree), '\n'), good...),
		"no committer":   bytes.Replace(good, []byte("\ncommitter "), []byte("\ncommittor "), 1),
		"two signatures": bytes.Replace(good, []byte("\ngpgsig "), []byte("\ngpgsig x\ngpgsig "), 1),
		"another sort":   bytes.Replace(good, []byte("\ngpgsig "), []byte("\ngpgsig-sha256 "), 1),
		"no message":     bytes.SplitN(good, []byte("\n\n"), 2)[0],
	} {
		t.Run(name, func(t *testing.T) {
			id, err := proof.Name("commit", spoilt)
			if err != nil {
				t.Fatal(err)
			}
			o := w.Objects(t, w.Tip(t))
			o.Commits = append(o.Commits, spoilt)
			if _, err := w.Trust(t).Read(id, o); err == nil {
				t.Error("it was read")
			}
		})
	}
}
