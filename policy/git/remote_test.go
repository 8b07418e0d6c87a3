package git

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gogit "github.com/go-git/go-git/v5"

	"github.com/mayflyproxy/mayfly/policy"
)

// forge serves the repositories below dir as git's own server does, to who knows the
// token.
func forge(t *testing.T, dir, token string) (url, roots string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIP: no git here")
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		if user != "mayfly" || pass != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL + "/policy.git", roots
}

func (r *repo) moveTo(t *testing.T, dir string) {
	t.Helper()
	r.must(os.Rename(r.dir, dir))
	r.dir = dir
	g, err := gogit.PlainOpen(dir)
	r.must(err)
	r.git = g
}

func TestPolicyIsFetchedFromAForge(t *testing.T) {
	root, key := t.TempDir(), newKey(t)
	signers := []policy.Signer{listed("carol", key)}
	there := newRepo(t)
	there.moveTo(t, filepath.Join(root, "policy.git"))
	first := there.commit(policyFiles(), with(t, key, signing{}))
	url, roots := forge(t, root, "s3cret")
	token := filepath.Join(t.TempDir(), "token")
	there.must(os.WriteFile(token, []byte("s3cret\n"), 0o600))
	o := RemoteOptions{URL: url, Branch: "main", Dir: filepath.Join(t.TempDir(), "here.git"), User: "mayfly", TokenFile: token, CAFile: roots}
	remote, err := OpenRemote(o)
	there.must(err)
	here, err := Open(Options{Location: o.Dir, Branch: "main", Folder: "policy"})
	there.must(err)
	if _, err := here.Head(t.Context()); ReasonOf(err) != NoBranch {
		t.Errorf("before it is fetched: %v", err)
	}
	fetch := func(want string) {
		t.Helper()
		if err := remote.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tip, err := here.Head(t.Context()); err != nil || tip != want {
			t.Fatalf("the tip here is %s, %v, want %s", tip, err, want)
		}
	}
	fetch(first.String())
	fetch(first.String()) // nothing is new
	if got, err := here.Candidate(t.Context(), "", signers); err != nil || got.Commit != first.String() {
		t.Fatalf("%s, %v", got.Commit, err)
	}
	second := there.commit(changed(), with(t, key, signing{}), first)
	fetch(second.String())
	other := there.commit(policyFiles(), with(t, key, signing{})) // history is forced
	fetch(other.String())
	if _, err := here.Candidate(t.Context(), second.String(), signers); ReasonOf(err) != NotDescendant {
		t.Errorf("history that was forced: %v", err)
	}
	if again, err := OpenRemote(o); err != nil || again.Fetch(t.Context()) != nil {
		t.Errorf("after a restart: %v", err)
	}

	there.must(os.WriteFile(token, []byte("wrong"), 0o600))
	if err := remote.Fetch(t.Context()); ReasonOf(err) != Unreachable || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with another token: %v", err)
	}
	there.must(os.WriteFile(token, []byte("s3cret"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := remote.Fetch(ctx); ReasonOf(err) != Unreachable {
		t.Errorf("when it is to stop: %v", err)
	}
	o.CAFile = ""
	if stranger, err := OpenRemote(o); err != nil || ReasonOf(stranger.Fetch(t.Context())) != Unreachable {
		t.Errorf("a certificate of nobody we trust: %v", err)
	}
	if tip, err := here.Head(t.Context()); err != nil || tip != other.String() {
		t.Errorf("what was fetched last is gone: %s, %v", tip, err)
	}
}

func TestWhereAPolicyIsNotFetchedFrom(t *testing.T) {
	for url, want := range map[string]string{
		"http://forge.acme.example/policy.git":           "want https",
		"git://forge.acme.example/policy.git":            "want https",
		"ext::sh -c id":                                  "want https",
		"https://alice:pw@forge.acme.example/policy.git": "no user",
		"https://forge.acme.example/policy.git?a=b":      "no user, query",
		"ssh://git@forge.acme.example/policy.git":        "known_hosts",
		"forge.acme.example:policy.git":                  "",
		"":                                               "want https",
	} {
		_, err := OpenRemote(RemoteOptions{URL: url, Branch: "main", Dir: filepath.Join(t.TempDir(), "here.git")})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := OpenRemote(RemoteOptions{URL: "https://forge.acme.example/policy.git", Branch: "../main", Dir: t.TempDir()}); err == nil {
		t.Error("a branch of no name is fetched")
	}
}
