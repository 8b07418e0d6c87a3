package git

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/policy"
)

// signing is how one test commit is signed. The zero value is as a good signer does.
type signing struct {
	namespace, hash, algorithm string
	reserved                   string
	version                    uint32
	payload                    func([]byte) []byte // what is really signed
	armour                     func(string) string
}

// sshsig and sshsigned are what a signature is made of (PROTOCOL.sshsig), after the
// magic.
type sshsig struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

type sshsigned struct {
	Namespace string
	Reserved  string
	Hash      string
	Message   []byte
}

// repo is a real repository that a test writes to.
type repo struct {
	t    *testing.T
	dir  string
	git  *gogit.Repository
	tip  plumbing.Hash
	tick int
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	dir := t.TempDir()
	g, err := gogit.PlainInitWithOptions(dir, &gogit.PlainInitOptions{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	return &repo{t: t, dir: dir, git: g}
}

func (r *repo) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) put(o interface {
	Encode(plumbing.EncodedObject) error
}) plumbing.Hash {
	r.t.Helper()
	e := r.git.Storer.NewEncodedObject()
	r.must(o.Encode(e))
	h, err := r.git.Storer.SetEncodedObject(e)
	r.must(err)
	return h
}

func (r *repo) blob(text string) plumbing.Hash {
	r.t.Helper()
	e := r.git.Storer.NewEncodedObject()
	e.SetType(plumbing.BlobObject)
	w, err := e.Writer()
	r.must(err)
	_, err = w.Write([]byte(text))
	r.must(err)
	r.must(w.Close())
	h, err := r.git.Storer.SetEncodedObject(e)
	r.must(err)
	return h
}

// tree writes files; a value such as "symlink:…" or "submodule:" makes that.
func (r *repo) tree(files map[string]string) plumbing.Hash {
	r.t.Helper()
	var entries []object.TreeEntry
	dirs := map[string]map[string]string{}
	for name, text := range files {
		if dir, rest, ok := strings.Cut(name, "/"); ok {
			if dirs[dir] == nil {
				dirs[dir] = map[string]string{}
			}
			dirs[dir][rest] = text
			continue
		}
		e := object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: r.blob(text)}
		if strings.HasPrefix(text, "symlink:") {
			e.Mode = filemode.Symlink
		}
		if strings.HasPrefix(text, "submodule:") {
			e.Mode = filemode.Submodule
		}
		entries = append(entries, e)
	}
	for dir, inside := range dirs {
		entries = append(entries, object.TreeEntry{Name: dir, Mode: filemode.Dir, Hash: r.tree(inside)})
	}
	t := object.Tree{Entries: entries}
	slices.SortFunc(t.Entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	return r.put(&t)
}

func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// commit makes a commit on top of parents and moves main to it.
func (r *repo) commit(files map[string]string, sign func([]byte) string, parents ...plumbing.Hash) plumbing.Hash {
	r.t.Helper()
	r.tick++
	who := object.Signature{Name: "carol", Email: "carol@acme.example", When: time.Unix(1_700_000_000+int64(r.tick), 0).UTC()}
	c := &object.Commit{Author: who, Committer: who, Message: "policy: change\n", TreeHash: r.tree(files), ParentHashes: parents}
	if sign != nil {
		b, err := payloadOf(c)
		r.must(err)
		c.PGPSignature = sign(b)
	}
	r.tip = r.put(c)
	r.must(r.git.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", r.tip)))
	return r.tip
}

func (r *repo) open(dev bool) *Repository {
	r.t.Helper()
	out, err := Open(Options{Location: r.dir, Branch: "main", Folder: "policy", Dev: dev})
	r.must(err)
	return out
}

func signerOf(t *testing.T, key crypto.Signer) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listed(person string, key ssh.Signer) policy.Signer {
	return policy.Signer{Person: person, Key: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))}
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key)
}

// with returns a signer of commits.
func with(t *testing.T, key ssh.Signer, s signing) func([]byte) string {
	t.Helper()
	return func(payload []byte) string {
		t.Helper()
		if s.namespace == "" {
			s.namespace = "git"
		}
		if s.hash == "" {
			s.hash = "sha512"
		}
		if s.version == 0 {
			s.version = 1
		}
		if s.payload != nil {
			payload = s.payload(payload)
		}
		sum := sha512.Sum512(payload)
		digest := sum[:]
		if s.hash == "sha256" {
			short := sha256.Sum256(payload)
			digest = short[:]
		}
		message := append([]byte("SSHSIG"), ssh.Marshal(sshsigned{s.namespace, s.reserved, s.hash, digest})...)
		sig, err := key.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, message, s.algorithm)
		if err != nil {
			t.Fatal(err)
		}
		blob := append([]byte("SSHSIG"), ssh.Marshal(sshsig{s.version, key.PublicKey().Marshal(), s.namespace, s.reserved, s.hash, ssh.Marshal(sig)})...)
		text := string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}))
		if s.armour != nil {
			text = s.armour(text)
		}
		return text
	}
}

func policyFiles() map[string]string {
	return map[string]string{"README.md": "not policy", "policy/mayfly.yaml": "organisation: acme\n", "policy/apps/stripe.yaml": "app: stripe\n"}
}

func TestCandidateIsTheSignedTip(t *testing.T) {
	r, key := newRepo(t), newKey(t)
	signers := []policy.Signer{listed("bob", newKey(t)), listed("carol", key)}
	first := r.commit(policyFiles(), with(t, key, signing{}))
	got, err := r.open(false).Candidate(t.Context(), "", signers)
	if err != nil {
		t.Fatal(err)
	}
	if got.Commit != first.String() || got.Signer.Person != "carol" || !got.Signed {
		t.Errorf("got commit %s signed by %q", got.Commit, got.Signer.Person)
	}
	names := strings.Join(slices.Sorted(maps.Keys(got.Files)), " ")
	if names != "apps/stripe.yaml mayfly.yaml" || string(got.Files["mayfly.yaml"]) != "organisation: acme\n" {
		t.Errorf("got files %s", names)
	}
	if _, err := r.open(false).Candidate(t.Context(), first.String(), signers); ReasonOf(err) != Unchanged {
		t.Errorf("the tip in force is a candidate again: %v", err)
	}
	middle := r.commit(policyFiles(), nil, first) // only the tip has to be signed
	r.commit(policyFiles(), with(t, key, signing{hash: "sha256"}), middle)
	if _, err := r.open(false).Candidate(t.Context(), first.String(), signers); err != nil {
		t.Errorf("a signed tip two commits on is refused: %v", err)
	}
}

func TestCandidateMustDescend(t *testing.T) {
	r, key := newRepo(t), newKey(t)
	signers := []policy.Signer{listed("carol", key)}
	first := r.commit(policyFiles(), with(t, key, signing{}))
	second := r.commit(policyFiles(), with(t, key, signing{}), first)
	for _, c := range []struct {
		name    string
		parents []plumbing.Hash
		want    Reason
	}{
		{"on top", []plumbing.Hash{second}, ""},
		{"a merge with something else", []plumbing.Hash{first, second}, ""},
		{"rolled back to a sibling", []plumbing.Hash{first}, NotDescendant},
		{"a new history", nil, NotDescendant},
		{"history that is not there", []plumbing.Hash{plumbing.NewHash("00000000000000000000000000000000000000aa")}, Unreadable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.commit(policyFiles(), with(t, key, signing{}), c.parents...)
			_, err := r.open(false).Candidate(t.Context(), second.String(), signers)
			if ReasonOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := r.open(true).Candidate(t.Context(), second.String(), signers); ReasonOf(err) != c.want {
				t.Errorf("with Dev: got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	ed, stranger := newKey(t), newKey(t)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, rs := signerOf(t, ecKey), signerOf(t, rsaKey)
	signers := []policy.Signer{listed("alice", ec), listed("bob", rs), listed("carol", ed)}
	good := with(t, ed, signing{})
	for _, c := range []struct {
		name string
		sign func([]byte) string
		want Reason // "" is taken
		says string
	}{
		{"ed25519", good, "", ""},
		{"ecdsa, sha256", with(t, ec, signing{hash: "sha256"}), "", ""},
		{"rsa, sha2-512", with(t, rs, signing{algorithm: ssh.KeyAlgoRSASHA512}), "", ""},
		{"rsa, sha2-256", with(t, rs, signing{algorithm: ssh.KeyAlgoRSASHA256}), "", ""},
		{"rsa, SHA-1", with(t, rs, signing{algorithm: ssh.KeyAlgoRSA}), BadSignature, "not taken"},
		{"none", nil, Unsigned, "not signed"},
		{"a stranger's", with(t, stranger, signing{}), UnknownSigner, "no signer of the policy in force"},
		{"made for a file", with(t, ed, signing{namespace: "file"}), BadSignature, "namespace"},
		{"over another hash", with(t, ed, signing{hash: "sha1"}), BadSignature, "want sha256 or sha512"},
		{"another version", with(t, ed, signing{version: 2}), BadSignature, "version"},
		{"with a reserved field", with(t, ed, signing{reserved: "x"}), BadSignature, "reserved"},
		{"of another commit", with(t, ed, signing{payload: func(b []byte) []byte { return append([]byte("tree 0"), b...) }}), BadSignature, "does not hold"},
		{"a forge's merge", func([]byte) string {
			return "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
		}, ForgeSignature, "forge's merge signature"},
		{"X.509", func([]byte) string {
			return "-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n"
		}, ForgeSignature, "no SSH signature"},
		{"cut armour", with(t, ed, signing{armour: func(s string) string { return strings.TrimSuffix(s, "-----END SSH SIGNATURE-----\n") }}), BadSignature, "malformed"},
		{"words in the armour", with(t, ed, signing{armour: func(s string) string { return strings.Replace(s, "\n", "\nComment: x\n", 1) }}), BadSignature, "malformed"},
		{"two blocks", func(b []byte) string { return good(b) + good(b) }, BadSignature, "malformed"},
		{"not base64", with(t, ed, signing{armour: func(s string) string { return strings.Replace(s, "U1NI", "U1N=", 1) }}), BadSignature, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			r.commit(policyFiles(), c.sign)
			got, err := r.open(false).Candidate(t.Context(), "", signers)
			if ReasonOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want reason %q", err, c.want)
			}
			if err == nil && got.Signer.Person == "" {
				t.Error("taken without a signer")
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
			dev, err := r.open(true).Candidate(t.Context(), "", signers)
			if takes := c.want == "" || c.want == Unsigned; (err == nil) != takes || takes && dev.Signed != (c.want == "") {
				t.Errorf("with Dev: %v, signed %v", err, dev.Signed)
			}
		})
	}
}

func TestFilesAreRegularAndPlain(t *testing.T) {
	key := newKey(t)
	for _, c := range []struct {
		name, file, text string
		want             Reason
	}{
		{"a file", "policy/a.yaml", "a", ""},
		{"symlink outside the folder", "docs/link", "symlink:../policy", ""},
		{"symlink", "policy/a.yaml", "symlink:/etc/passwd", BadFile},
		{"submodule", "policy/sub", "submodule:", BadFile},
		{"another case of the same name", "policy/MAYFLY.yaml", "a", BadFile},
		{"space in a name", "policy/a b.yaml", "a", BadFile},
		{"backslash", `policy/a\b.yaml`, "a", BadFile},
		{"letter that looks like another", "policy/аpp.yaml", "a", BadFile},
		{"large file", "policy/large.yaml", strings.Repeat("x", maxObject+1), BadFile},
		{"deep folders", "policy/" + strings.Repeat("d/", maxFolder+2) + "a.yaml", "a", BadFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, files := newRepo(t), policyFiles()
			files[c.file] = c.text
			r.commit(files, with(t, key, signing{}))
			_, err := r.open(false).Candidate(t.Context(), "", []policy.Signer{listed("carol", key)})
			if ReasonOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whoever can write to the repository's disk must not put other content behind
// a name that a signed commit vouches for.
func TestContentIsHashedAgain(t *testing.T) {
	r, key := newRepo(t), newKey(t)
	r.commit(policyFiles(), with(t, key, signing{}))
	good, evil := r.blob("organisation: acme\n").String(), r.blob("organisation: evil\n").String()
	loose := func(h string) string { return filepath.Join(r.dir, "objects", h[:2], h[2:]) }
	b, err := os.ReadFile(loose(evil))
	r.must(err)
	r.must(os.Chmod(loose(good), 0o600))
	r.must(os.WriteFile(loose(good), b, 0o600))
	got, err := r.open(false).Candidate(t.Context(), "", []policy.Signer{listed("carol", key)})
	if ReasonOf(err) != Unreadable || !strings.Contains(err.Error(), "not what its name says") {
		t.Fatalf("files %q came with %v", got.Files, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newRepo(t)
	for name, o := range map[string]Options{
		"no location":          {Branch: "main"},
		"another scheme":       {Location: "https://git.acme.example/policy", Branch: "main"},
		"no repository":        {Location: t.TempDir(), Branch: "main"},
		"no branch":            {Location: r.dir},
		"a branch like a path": {Location: r.dir, Branch: "../../main"},
		"a folder outside":     {Location: r.dir, Branch: "main", Folder: "../policy"},
	} {
		if _, err := Open(o); ReasonOf(err) == "" {
			t.Errorf("%s: opened (%v)", name, err)
		}
	}
	open, err := Open(Options{Location: "file://" + r.dir, Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Candidate(t.Context(), "", nil); ReasonOf(err) != NoBranch {
		t.Errorf("an empty repository gives %v", err)
	}
	for _, name := range []string{"", "main", "HEAD", strings.Repeat("A", 40), strings.Repeat("0", 40)} {
		if _, err := open.Files(t.Context(), name); ReasonOf(err) != Unreadable {
			t.Errorf("Files(%q) gives %v", name, err)
		}
	}
}
