// Package prooftest makes policy that git signed, and grants with a whole proof, for
// tests: keys by ssh-keygen, commits by git itself, passkeys by a software
// authenticator. What a test takes out of it is good; the test then spoils it.
package prooftest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/scope"
)

// Origin is where the passkeys of a World are used.
const Origin = "https://mayfly.acme.example"

// The persons of a World: who signs policy, who approves (erin by passkey), who
// asks, and who has a key but is not asked.
const (
	Signer    = "carol"
	Approver  = "bob"
	Second    = "erin"
	Requester = "alice"
	Stranger  = "mallory"
)

// Account is the account of a person.
func Account(person string) string { return "user:idp:" + person }

// World is a repository of policy and everybody's keys.
type World struct {
	Dir     string
	keys    map[string]string // SSH private key files by person
	passkey *ecdsa.PrivateKey
	minter  *grant.Minter
	Now     time.Time
}

// New makes a World with one signed commit.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{Dir: t.TempDir(), keys: map[string]string{}, minter: grant.NewMinter(), Now: time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)}
	for _, name := range []string{Signer, Approver, Requester, Stranger} {
		file := filepath.Join(t.TempDir(), name)
		run(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file)
		w.keys[name] = file
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.passkey = key
	w.git(t, "init", "-q", "-b", "main")
	w.Commit(t, w.Files(t))
	return w
}

func run(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+os.TempDir(),
		"GIT_AUTHOR_NAME=carol", "GIT_AUTHOR_EMAIL=carol@acme.example", "GIT_COMMITTER_NAME=carol", "GIT_COMMITTER_EMAIL=carol@acme.example")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

func (w *World) git(t testing.TB, args ...string) string {
	t.Helper()
	return strings.TrimSpace(string(run(t, w.Dir, "git", args...)))
}

// KeyFile returns the path of a person's SSH private key.
func (w *World) KeyFile(person string) string { return w.keys[person] }

// PublicKey returns a person's SSH public key as policy writes it.
func (w *World) PublicKey(t testing.TB, person string) string {
	t.Helper()
	b, err := os.ReadFile(w.keys[person] + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// CredentialID is the id of the one passkey.
func CredentialID() []byte { return []byte("credential-of-erin") }

// PasskeyText returns the passkey as policy writes it.
func (w *World) PasskeyText(t testing.TB) string {
	t.Helper()
	text, err := proof.FormatPasskey(CredentialID(), &w.passkey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Files returns the policy of the first commit, by path below the folder policy.
func (w *World) Files(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"mayfly.yaml": `organisation: acme
caps: {grant: 12h, pending_per_principal: 5}
nodes:
  - {sidecar: "spiffe://acme.example/gw/sidecar", listener: "spiffe://acme.example/gw/listener", role: gateway, apps: [reports], environment: prod}
environments: [prod]
people:
  - {person: alice, accounts: ["user:idp:alice", "user:idp:alice-admin"], keys: [{ssh: "` + w.PublicKey(t, Requester) + `"}]}
  - person: bob
    accounts: ["user:idp:bob"]
    keys:
      - ssh: ` + w.PublicKey(t, Approver) + `
  - {person: carol, accounts: ["user:idp:carol"]}
  - {person: erin, accounts: ["user:idp:erin"], keys: [{passkey: ` + w.PasskeyText(t) + `}]}
  - {person: mallory, accounts: ["user:idp:mallory"], keys: [{ssh: "` + w.PublicKey(t, Stranger) + `"}]}
signers:
  - {person: carol, key: "` + w.PublicKey(t, Signer) + `"}
security: group:idp/security
`,
		"apps/reports.yaml": `app: reports
kind: web
owner: team-data
hosts: [reports.acme.example]
callers: [services]
upstream: {url: "https://reports.internal.acme.example"}
stale_after: 15s
streams: deadline
`,
		"entitlements/reports/read.yaml": `entitlement: reports/read
owner: team-data
app: reports
allow:
  - {operations: [http.get, http.head], where: {path: {under: $folder}}}
  - {operations: [http.options]}
params:
  folder: {type: path, pattern: "/(daily|monthly)(/.*)?", required: true}
grant: {max: 1h, default: 30m, idle_after: 15m}
request: {who: [group:idp/support], for: [self], justification: text}
approve:
  signed: true
  steps:
    - {any: [bob, erin, alice], count: 2, within: 20m}
`,
		"entitlements/reports/rule.yaml": `entitlement: reports/rule
owner: team-data
app: reports
allow:
  - {operations: [http.get]}
grant: {max: 1h}
request: {who: [group:idp/support], for: [self], justification: none}
approve: {auto: {when: "true"}}
`,
	}
}

// Commit writes files below the folder policy and commits them, signed by carol. It
// returns the commit's name.
func (w *World) Commit(t testing.TB, files map[string]string) string {
	t.Helper()
	return w.CommitBy(t, Signer, files)
}

// CommitBy is Commit, signed by another; by nobody if who is "".
func (w *World) CommitBy(t testing.TB, who string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(w.Dir, "policy", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.git(t, "add", "-A")
	args := []string{"commit", "-q", "--allow-empty", "-m", "policy: change"}
	if who != "" {
		args = append([]string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + w.keys[who] + ".pub", "-c", "commit.gpgsign=true"}, args...)
	}
	w.git(t, args...)
	return w.Tip(t)
}

// Tip returns the newest commit.
func (w *World) Tip(t testing.TB) string { return w.git(t, "rev-parse", "HEAD") }

// Objects returns what proves a commit: the line of commits down to the first one,
// all trees, and all files of the folder policy.
func (w *World) Objects(t testing.TB, commit string) proof.Objects {
	t.Helper()
	var out proof.Objects
	cat := func(objectType, name string) []byte { return run(t, w.Dir, "git", "cat-file", objectType, name) }
	for name := range strings.FieldsSeq(w.git(t, "rev-list", commit)) {
		out.Commits = append(out.Commits, cat("commit", name))
	}
	out.Trees = append(out.Trees, cat("tree", w.git(t, "rev-parse", commit+"^{tree}")))
	for line := range strings.Lines(w.git(t, "ls-tree", "-r", "-t", commit)) {
		switch f := strings.Fields(line); f[1] {
		case "tree":
			out.Trees = append(out.Trees, cat("tree", f[2]))
		case "blob":
			out.Blobs = append(out.Blobs, cat("blob", f[2]))
		}
	}
	return out
}

// Trust is what a gateway of this World is configured with.
func (w *World) Trust(t testing.TB) proof.Trust {
	t.Helper()
	key, err := proof.ParseSSHKey(w.PublicKey(t, Signer))
	if err != nil {
		t.Fatal(err)
	}
	site, err := proof.ParseSite(Origin)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Trust{Signers: []ssh.PublicKey{key}, Folder: "policy", Site: site}
}

// Catalogue is the operations of the app's kind.
func Catalogue() *scope.Catalogue {
	path := []scope.AttributeSpec{{Name: "path", Type: scope.TypePath}}
	c, err := scope.NewCatalogue([]scope.Spec{
		{Name: "http.get", Class: scope.ClassRead, Attributes: path}, {Name: "http.head", Class: scope.ClassRead, Attributes: path},
		{Name: "http.options", Class: scope.ClassRead, Attributes: path}, {Name: "http.post", Class: scope.ClassWrite, Attributes: path},
	})
	if err != nil {
		panic(err) // the literal above is a catalogue
	}
	return c
}

// Grant is alice's grant of reports/read below /daily, for half an hour.
func (w *World) Grant(t testing.TB) grant.Grant {
	t.Helper()
	p, err := identity.ParsePrincipal(Account(Requester))
	if err != nil {
		t.Fatal(err)
	}
	under := []scope.Constraint{{Attribute: "path", Comparison: scope.Under, Values: []scope.Value{scope.Path("/daily")}}}
	return grant.Grant{
		ID: w.minter.NewGrantID(w.Now), Request: w.minter.NewRequestID(w.Now), Principal: p, Pseudonym: "p_alice", Entitlement: "reports/read",
		Scope: scope.Scope{App: "reports", Rules: []scope.Rule{
			{Operation: "http.get", Where: under}, {Operation: "http.head", Where: under}, {Operation: "http.options", Where: []scope.Constraint{}},
		}}.Canonical(),
		Class: scope.ClassRead, NotBefore: w.Now, NotAfter: w.Now.Add(30 * time.Minute),
	}
}

// Offer is the Offer of a grant, as members that a test may change.
func (w *World) Offer(t testing.TB, g grant.Grant) map[string]any {
	t.Helper()
	party := map[string]any{"principal": g.Principal.String(), "person": Requester, "shown": "Alice"}
	operations := []any{}
	for _, r := range g.Scope.Rules {
		where := []any{}
		for _, c := range r.Where {
			where = append(where, map[string]any{"attribute": c.Attribute, "op": string(c.Comparison), "value": c.Values[0].String(), "unit": "", "words": c.String()})
		}
		operations = append(operations, map[string]any{"name": r.Operation, "where": where})
	}
	return map[string]any{
		"v": 1, "request": g.Request.String(), "revision": "1", "requester": party, "beneficiary": party, "act": []any{},
		"entitlement": g.Entitlement, "app": g.Scope.App, "params": map[string]any{"folder": "/daily"}, "reason": "the monthly close",
		"operations": operations, "limits": map[string]any{"class": g.Class.String(), "any": []any{}, "idle_after_s": "900"},
		"duration_s": strconv.Itoa(int(g.NotAfter.Sub(g.NotBefore) / time.Second)), "start_by": Stamp(w.Now.Add(20 * time.Minute)),
		"policy": map[string]any{"commit": w.Tip(t), "digest": strings.Repeat("0", 64)}, "catalogue": Catalogue().Digest(), "findings": []any{},
	}
}

// Encode writes an Offer in canonical form.
func Encode(t testing.TB, offer map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(offer)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = jcs.Transform(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Stamp writes a time as records do.
func Stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Leaf is the record grant.created of a grant at an index, as members to change.
func Leaf(g grant.Grant, offer []byte, index int64) map[string]any {
	sum := sha256.Sum256(offer)
	return map[string]any{
		"v": 1, "id": "rec", "type": "grant.created", "time": Stamp(g.NotBefore), "node": "mayflyd", "seq": strconv.FormatInt(index, 10), "subject": g.ID.String(),
		"body": map[string]any{
			"grant": g.ID.String(), "request": g.Request.String(), "principal": g.Pseudonym, "not_before": Stamp(g.NotBefore), "not_after": Stamp(g.NotAfter),
			"entitlement": g.Entitlement, "app": g.Scope.App, "class": g.Class.String(), "catalogue": Catalogue().Digest(), "offer": hex.EncodeToString(sum[:]),
		},
	}
}

// SignSSH signs an Offer with a person's SSH key, by ssh-keygen.
func (w *World) SignSSH(t testing.TB, person string, offer []byte) proof.Signature {
	t.Helper()
	return w.SignSSHFor(t, person, proof.NamespaceApproval, offer)
}

// SignSSHFor is SignSSH in another namespace.
func (w *World) SignSSHFor(t testing.TB, person, namespace string, offer []byte) proof.Signature {
	t.Helper()
	sum := sha256.Sum256(offer)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, proof.Message(sum), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", w.keys[person], file)
	b, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	return proof.Signature{SSH: string(b)}
}

// Touch is one use of the passkey, as members that a test may change.
type Touch struct {
	Client map[string]any
	Party  string
	Flags  byte
	Extra  []byte // behind the authenticator data
	ID     []byte
}

// Touch is a good use of the passkey on an Offer.
func (w *World) Touch(offer []byte) Touch {
	sum := sha256.Sum256(offer)
	return Touch{
		Client: map[string]any{"type": "webauthn.get", "challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "origin": Origin, "crossOrigin": false},
		Party:  "mayfly.acme.example", Flags: 0x05, ID: CredentialID(),
	}
}

// SignPasskey answers as an authenticator does.
func (w *World) SignPasskey(t testing.TB, u Touch) proof.Signature {
	t.Helper()
	client, err := json.Marshal(u.Client)
	if err != nil {
		t.Fatal(err)
	}
	party := sha256.Sum256([]byte(u.Party))
	data := append(append(party[:], u.Flags, 0, 0, 0, 7), u.Extra...)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, w.passkey, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return proof.Signature{Passkey: &proof.Assertion{CredentialID: u.ID, AuthenticatorData: data, ClientData: client, Signature: sig}}
}

// Claim is a grant with a whole proof: bob's SSH key and erin's passkey approved.
func (w *World) Claim(t testing.TB) proof.Claim {
	t.Helper()
	g := w.Grant(t)
	return w.ClaimOf(t, g, Encode(t, w.Offer(t, g)))
}

// ClaimOf is a claim on an Offer, signed by both.
func (w *World) ClaimOf(t testing.TB, g grant.Grant, offer []byte) proof.Claim {
	t.Helper()
	const index = 41
	var o struct{ Params map[string]string }
	if err := json.Unmarshal(offer, &o); err != nil {
		t.Fatal(err)
	}
	return proof.Claim{
		Grant: g, Params: maps.Clone(o.Params), Catalogue: Catalogue().Digest(), Offer: offer, Index: index, Leaf: Encode(t, Leaf(g, offer, index)),
		Approvals: []proof.Approval{
			{Person: Approver, Signature: w.SignSSH(t, Approver, offer)},
			{Person: Second, Signature: w.SignPasskey(t, w.Touch(offer))},
		},
		Operations: Catalogue(),
	}
}
