package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
)

// forge is a repository that people sign commits of with the real programs, and the
// loop that reads it.
type forge struct {
	t    *testing.T
	dir  string // work tree
	home string // keys
	loop *policyLoop

	*access.Service

	mu  sync.Mutex
	now time.Time
}

func (f *forge) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *forge) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func newForge(t *testing.T) *forge {
	t.Helper()
	for _, program := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REQUIRE_ALL") != "" {
				t.Fatal(err)
			}
			t.Skipf("SKIP: no %s here", program)
		}
	}
	f := &forge{t: t, dir: t.TempDir(), home: t.TempDir(), now: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)}
	f.run("git", "init", "-q", "-b", "main")
	f.run("git", "config", "gpg.format", "ssh")
	for _, who := range []string{"alice", "bob", "carol", "mallory"} {
		f.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", filepath.Join(f.home, who))
	}
	began := f.now
	db, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "mayfly.db"), Now: f.clock, BootNow: func() time.Duration { return f.clock().Sub(began) },
	})
	f.must(err)
	t.Cleanup(func() { f.must(db.Close()) })
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	f.must(err)
	signer, err := audit.NewSigner(key)
	f.must(err)
	s, err := stripe.New()
	f.must(err)
	v, err := web.New()
	f.must(err)
	known := map[string]*scope.Catalogue{s.Name(): s.Catalogue(), v.Name(): v.Catalogue()}
	f.Service, err = access.New(access.Config{
		Store: db, Signer: signer, Minter: grant.NewMinter(), Console: "https://mayfly.acme.example",
		Policy: policy.Options{Catalogue: func(kind string) (*scope.Catalogue, bool) { c, ok := known[kind]; return c, ok }},
	})
	f.must(err)
	repository, err := git.Open(git.Options{Location: f.dir, Branch: "main", Folder: "policy"})
	f.must(err)
	f.loop = &policyLoop{
		service: f.Service, repository: repository, every: time.Hour, applied: func(context.Context) {}, log: slog.New(slog.DiscardHandler),
		first: []policy.Signer{{Person: "carol", Key: f.key("carol")}},
	}
	return f
}

func (f *forge) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *forge) run(name string, args ...string) string {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), name, args...)
	cmd.Dir = f.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + f.home, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=somebody", "GIT_AUTHOR_EMAIL=somebody@acme.example", "GIT_COMMITTER_NAME=somebody", "GIT_COMMITTER_EMAIL=somebody@acme.example",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *forge) key(who string) string {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.home, who+".pub"))
	f.must(err)
	return strings.TrimSpace(string(b))
}

// write puts the examples into the work tree, with signers.
func (f *forge) write(signers ...string) {
	f.t.Helper()
	from := os.DirFS("../../examples/policy")
	f.must(fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		to := filepath.Join(f.dir, "policy", name)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, b, 0o600))
	}))
	f.edit("mayfly.yaml", func(text string) string { return f.signedBy(text, signers...) })
}

// signedBy replaces the signers of mayfly.yaml.
func (f *forge) signedBy(text string, signers ...string) string {
	before, rest, _ := strings.Cut(text, "signers:\n")
	for strings.HasPrefix(rest, " ") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	list := ""
	for _, who := range signers {
		list += "  - {person: " + who + ", key: \"" + f.key(who) + "\"}\n"
	}
	return before + "signers:\n" + list + rest
}

func (f *forge) edit(name string, change func(string) string) {
	f.t.Helper()
	path := filepath.Join(f.dir, "policy", name)
	b, err := os.ReadFile(path)
	f.must(err)
	after := change(string(b))
	if after == string(b) {
		f.t.Fatalf("%s is not changed", name)
	}
	f.must(os.WriteFile(path, []byte(after), 0o600))
}

func (f *forge) replace(name, old, now string) {
	f.t.Helper()
	f.edit(name, func(text string) string { return strings.Replace(text, old, now, 1) })
}

// commit signs what lies in the work tree, or not if who is "".
func (f *forge) commit(who string) string {
	f.t.Helper()
	f.run("git", "add", "-A")
	args := []string{"commit", "-q", "--allow-empty", "-m", "policy: change"}
	if who != "" {
		args = append([]string{"-c", "user.signingkey=" + filepath.Join(f.home, who)}, append(args, "-S")...)
	}
	f.run("git", args...)
	return f.run("git", "rev-parse", "HEAD")
}

// look has the loop look once, and returns the commit in force then.
func (f *forge) look() string {
	f.t.Helper()
	f.loop.look(f.t.Context())
	set, err := f.Policy(f.t.Context())
	if access.CodeOf(err) == access.CodeNoPolicy {
		return ""
	}
	f.must(err)
	return set.Commit()
}

func (f *forge) status() access.PolicyStatus {
	f.t.Helper()
	v, err := f.PolicyStatus(f.t.Context(), f.as("alice"))
	f.must(err)
	return v
}

func (f *forge) as(who string, groups ...string) access.Caller {
	f.t.Helper()
	p, err := identity.ParsePrincipal("user:idp:" + who)
	f.must(err)
	c := access.Caller{Principal: p, GroupsAt: f.clock()}
	for _, name := range groups {
		g, err := identity.ParseGroup("group:idp/" + name)
		f.must(err)
		c.Groups = append(c.Groups, g)
	}
	return c
}

// begun has a first policy in force, long ago.
func begun(t *testing.T, signers ...string) (f *forge, first string) {
	t.Helper()
	f = newForge(t)
	f.write(signers...)
	first = f.commit("carol")
	if got := f.look(); got != first {
		t.Fatalf("in force is %q, want %s: %+v", got, first, f.loop.said)
	}
	f.pass(48 * time.Hour)
	return f, first
}

const refunds = "entitlements/stripe/refunds.yaml"

func TestATakeoverOfPolicyIsRefusedOrDelayed(t *testing.T) {
	for _, c := range []struct {
		name   string
		attack func(f *forge, first string) string // returns the tip
		reason string                              // of the refusal; "": it is delayed
	}{
		{"nobody signed it", func(f *forge, _ string) string {
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			return f.commit("")
		}, "unsigned"},
		{"somebody signed it whom policy does not list", func(f *forge, _ string) string {
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			return f.commit("mallory")
		}, "unknown_signer"},
		{"a signature was moved to it", func(f *forge, _ string) string {
			signed := f.run("git", "cat-file", "commit", "HEAD")
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			f.run("git", "add", "-A")
			tree := f.run("git", "write-tree")
			body := strings.Replace(signed, strings.Fields(signed)[1], tree, 1)
			body = strings.Replace(body, "\nauthor", "\nparent "+f.run("git", "rev-parse", "HEAD")+"\nauthor", 1)
			path := filepath.Join(f.home, "moved")
			f.must(os.WriteFile(path, []byte(body+"\n"), 0o600))
			tip := f.run("git", "hash-object", "-t", "commit", "-w", path)
			f.run("git", "update-ref", "refs/heads/main", tip)
			return tip
		}, "bad_signature"},
		{"it is of another history", func(f *forge, _ string) string {
			f.run("git", "checkout", "-q", "--orphan", "other")
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			tip := f.commit("carol")
			f.run("git", "branch", "-f", "main", tip)
			return tip
		}, "not_descendant"},
		{"a signer is added and used in one commit", func(f *forge, _ string) string {
			f.edit("mayfly.yaml", func(text string) string { return f.signedBy(text, "carol", "bob") })
			return f.commit("bob")
		}, "unknown_signer"},
		{"a signer is added by a signed commit, and used by the next", func(f *forge, _ string) string {
			f.edit("mayfly.yaml", func(text string) string { return f.signedBy(text, "carol", "bob") })
			f.commit("carol")
			f.look()
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			return f.commit("bob")
		}, "unknown_signer"},
		{"its files are no policy", func(f *forge, _ string) string {
			f.replace(refunds, "owner:", "onwer:")
			return f.commit("carol")
		}, "policy"},
		{"a secret goes to another host", func(f *forge, _ string) string {
			f.replace("apps/stripe.yaml", "https://api.stripe.com", "https://api.attacker.example")
			return f.commit("carol")
		}, ""},
		{"more people may ask", func(f *forge, _ string) string {
			f.replace(refunds, "group:idp/support", "group:idp/everybody")
			return f.commit("carol")
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, first := begun(t, "carol")
			tip := c.attack(f, first)
			if got := f.look(); got != first {
				t.Fatalf("in force is %s", got)
			}
			v := f.status()
			if c.reason != "" {
				if v.Seen.Refused.Reason != c.reason || v.Seen.Refused.Commit != tip {
					t.Fatalf("refused is %+v, want %s because of %s", v.Seen.Refused, tip, c.reason)
				}
				f.pass(policy.DefaultSettle - time.Second)
				if got := f.look(); got == tip {
					t.Fatal("time put it in force")
				}
				return
			}
			if len(v.Settling) != 1 || v.Settling[0].Commit != tip || v.Seen.Refused.Reason != "" || len(v.Settling[0].Gains) == 0 {
				t.Fatalf("%+v", v)
			}
			f.pass(policy.DefaultSettle - time.Second)
			if got := f.look(); got != first {
				t.Fatalf("in force is %s before its time", got)
			}
			f.pass(time.Second)
			if got := f.look(); got != tip {
				t.Fatalf("in force is %s, want %s after its time: %s", got, tip, f.loop.said)
			}
		})
	}
}

func TestTheAuthorOfARuleIsNotWhomItApproves(t *testing.T) {
	f, _ := begun(t, "alice", "carol")
	f.replace(refunds, "approve:\n", "approve:\n  auto: {when: \"request.duration <= duration('1h')\"}\n")
	tip := f.commit("alice")
	f.look()
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != tip {
		t.Fatalf("in force is %s: %s", got, f.loop.said)
	}
	ask := access.Ask{Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "100"}, Reason: "the parcel was lost"}
	r, err := f.Request(t.Context(), f.as("alice", "support"), ask)
	if err != nil || r.State != access.Pending {
		t.Fatalf("the author is %s, %v", r.State, err)
	}
	r, err = f.Request(t.Context(), f.as("somebody", "support"), ask)
	if err != nil || r.State != access.Approved {
		t.Fatalf("somebody else is %s (%s), %v", r.State, r.Sentence, err)
	}
}

func TestACommitSettlesUnderneathARefusedTip(t *testing.T) {
	f, first := begun(t, "carol")
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	wider := f.commit("carol")
	f.look()
	f.replace(refunds, "max: 2h", "max: 1h")
	f.commit("") // nobody signed this one
	f.pass(policy.DefaultSettle - time.Second)
	if got := f.look(); got != first {
		t.Fatalf("in force is %s", got)
	}
	f.pass(time.Second)
	if got := f.look(); got != wider {
		t.Fatalf("in force is %s, want %s: %s", got, wider, f.loop.said)
	}
	if v := f.status(); v.Seen.Refused.Reason != "unsigned" {
		t.Errorf("%+v", v.Seen)
	}
}

func TestACommitThatIsForcedAwayDoesNotSettle(t *testing.T) {
	f, first := begun(t, "carol")
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	f.commit("carol")
	f.look()
	f.run("git", "reset", "-q", "--hard", first)
	f.look()
	if v := f.status(); len(v.Settling) != 0 {
		t.Fatalf("there still settles %+v", v.Settling)
	}
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != first {
		t.Fatalf("in force is %s", got)
	}
}

func TestACommitIsUndoneAtOnce(t *testing.T) {
	f, first := begun(t, "carol")
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	wider := f.commit("carol")
	if got := f.look(); got != first {
		t.Fatalf("in force is %s", got)
	}
	f.run("git", "-c", "user.signingkey="+filepath.Join(f.home, "carol"), "revert", "--no-edit", "-S", wider)
	undone := f.run("git", "rev-parse", "HEAD")
	if got := f.look(); got != undone {
		t.Fatalf("in force is %s, want %s: %s", got, undone, f.loop.said)
	}
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != undone || len(f.status().Settling) != 0 {
		t.Fatalf("in force is %s, and there settles %+v", got, f.status().Settling)
	}
}

// A commit that was undone lends its wait to nothing that comes after it.
func TestWhatWasUndoneWaitsAnew(t *testing.T) {
	f, _ := begun(t, "carol")
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	wider := f.commit("carol")
	f.look()
	f.pass(policy.DefaultSettle - time.Second)
	f.run("git", "-c", "user.signingkey="+filepath.Join(f.home, "carol"), "revert", "--no-edit", "-S", wider)
	undone := f.look()
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	f.commit("carol")
	f.look()
	f.pass(policy.DefaultSettle - time.Second)
	if got := f.look(); got != undone {
		t.Fatalf("in force is %s, which was undone", got)
	}
}

func TestTheAuthorIsWhoeverSignedAnythingOfIt(t *testing.T) {
	f, _ := begun(t, "alice", "carol")
	f.replace(refunds, "approve:\n", "approve:\n  auto: {when: \"request.duration <= duration('1h')\"}\n")
	f.commit("alice")
	f.look()
	f.replace("entitlements/reports/read.yaml", "max: 8h", "max: 7h")
	tip := f.commit("carol") // somebody else's commit on top of it
	f.look()
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != tip {
		t.Fatalf("in force is %s: %s", got, f.loop.said)
	}
	ask := access.Ask{Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "100"}, Reason: "the parcel was lost"}
	if r, err := f.Request(t.Context(), f.as("alice", "support"), ask); err != nil || r.State != access.Pending {
		t.Fatalf("the author is %s, %v", r.State, err)
	}
}

// A commit that waits and can never enter keeps none of the others out.
func TestOneThatCannotEnterKeepsNoOtherOut(t *testing.T) {
	f, _ := begun(t, "alice", "carol")
	f.replace(refunds, "group:idp/support", "group:idp/everybody")
	first := f.commit("carol")
	f.look()
	f.write("alice", "carol")
	f.replace("mayfly.yaml", "caps: {grant: 12h", "caps: {grant: 13h")
	f.must(os.MkdirAll(filepath.Join(f.dir, "policy", "exceptions"), 0o700))
	f.must(os.WriteFile(filepath.Join(f.dir, "policy", "exceptions", "wild.yaml"), []byte("exception: wild\nowner: team-data\nreason: the old way is used until it is gone\nuntil: "+f.clock().Add(5*time.Minute).Format(time.RFC3339)+"\nallows: wildcard\nentitlement: reports/write\n"), 0o600))
	f.must(os.WriteFile(filepath.Join(f.dir, "policy", "entitlements", "reports", "write.yaml"), []byte("entitlement: reports/write\nowner: team-data\napp: reports\nallow: [{operations: [\"@write\"]}]\ngrant: {max: 1h}\nrequest: {who: [alice], for: [self]}\napprove: {steps: [{any: [carol], within: 1h}]}\n"), 0o600))
	f.commit("carol")
	f.look()
	if v := f.status(); len(v.Settling) != 2 {
		t.Fatalf("there waits %+v, refused is %+v", v.Settling, v.Seen.Refused)
	}
	f.commit("") // and the tip is refused
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != first {
		t.Fatalf("in force is %s, want %s: %s, %+v", got, first, f.loop.said, f.status())
	}
}

func TestTwoSignersSignOneCommitAfterTheOther(t *testing.T) {
	f, _ := begun(t, "alice", "carol")
	f.replace("mayfly.yaml", "signers:\n", "signatures: 2\nsigners:\n")
	two := f.commit("carol")
	f.look()
	f.pass(policy.DefaultSettle)
	if got := f.look(); got != two {
		t.Fatalf("in force is %s: %s", got, f.loop.said)
	}
	f.replace(refunds, "max: 2h", "max: 1h")
	one := f.commit("alice")
	if got := f.look(); got != two || f.status().Seen.Refused.Reason != access.ReasonFewSignatures || f.status().Seen.Refused.Commit != one {
		t.Fatalf("in force is %s, refused %+v", got, f.status().Seen.Refused)
	}
	f.commit("alice") // once more does not make two
	if got := f.look(); got != two {
		t.Fatalf("in force is %s", got)
	}
	both := f.commit("carol")
	if got := f.look(); got != both || f.status().Seen.Refused.Reason != "" {
		t.Fatalf("in force is %s, want %s: %s", got, both, f.loop.said)
	}
}

func TestARepositoryThatCannotBeReadIsAnAlarm(t *testing.T) {
	f, first := begun(t, "carol")
	f.must(os.Rename(filepath.Join(f.dir, ".git"), filepath.Join(f.dir, "away")))
	if got := f.look(); got != first {
		t.Fatalf("in force is %s", got)
	}
	since := f.status().Seen.Failed
	if since.IsZero() {
		t.Fatal("nothing is said of it")
	}
	f.pass(time.Hour)
	f.look()
	if got := f.status().Seen.Failed; !got.Equal(since) {
		t.Errorf("it cannot be read since %s, said is %s", since, got)
	}
	f.must(os.Rename(filepath.Join(f.dir, "away"), filepath.Join(f.dir, ".git")))
	if f.look(); !f.status().Seen.Failed.IsZero() {
		t.Error("it can be read, and nobody says so")
	}
}
