package git

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshForge serves a repository by SSH, as git's own server does, to the holder of a key
// that asks as git.
func sshForge(t *testing.T, dir string, allowed ssh.PublicKey) (url string, host ssh.PublicKey) {
	t.Helper()
	if _, err := exec.LookPath("git-upload-pack"); err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIP: no git here")
	}
	key := newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(k.Marshal()) != string(allowed.Marshal()) {
			return nil, os.ErrPermission
		}
		return nil, nil
	}}
	config.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveGit(t.Context(), c, config, dir)
		}
	}()
	return "ssh://" + l.Addr().String() + "/policy.git", key.PublicKey()
}

// serveGit answers one connection with git-upload-pack of one repository, whatever is asked.
func serveGit(ctx context.Context, c net.Conn, config *ssh.ServerConfig, dir string) {
	defer func() { _ = c.Close() }()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for one := range channels {
		ch, requests, err := one.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(r.Type == "env", nil)
				continue
			}
			_ = r.Reply(true, nil)
			cmd := exec.CommandContext(ctx, "git-upload-pack", dir)
			in, err := cmd.StdinPipe()
			if err != nil {
				return
			}
			cmd.Stdout = ch
			go func() { _, _ = io.Copy(in, ch); _ = in.Close() }()
			_ = cmd.Run()
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			_ = ch.Close()
		}
		return
	}
}

func TestPolicyIsFetchedBySSH(t *testing.T) {
	r, _, commits := line(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	r.must(err)
	public, err := ssh.NewPublicKey(private.Public())
	r.must(err)
	url, host := sshForge(t, r.dir, public)
	block, err := ssh.MarshalPrivateKey(private, "")
	r.must(err)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		r.must(os.WriteFile(path, b, 0o600))
		return path
	}
	address := url[len("ssh://") : len(url)-len("/policy.git")]
	good := RemoteOptions{
		URL: url, Branch: "main", KeyFile: write("key", pem.EncodeToMemory(block)),
		KnownHosts: write("known", []byte(knownhosts.Line([]string{address}, host)+"\n")),
	}
	strange, err := ssh.MarshalPrivateKey(func() ed25519.PrivateKey { _, k, _ := ed25519.GenerateKey(rand.Reader); return k }(), "")
	r.must(err)
	for _, c := range []struct {
		name   string
		change func(*RemoteOptions)
		want   bool
	}{
		{"as configured", func(*RemoteOptions) {}, true},
		{"with another host key", func(o *RemoteOptions) {
			o.KnownHosts = write("other", []byte(knownhosts.Line([]string{address}, newKey(t).PublicKey())+"\n"))
		}, false},
		{"with a host that nobody knows", func(o *RemoteOptions) { o.KnownHosts = write("none", nil) }, false},
		{"without a file of known hosts", func(o *RemoteOptions) { o.KnownHosts = filepath.Join(dir, "missing") }, false},
		{"with another key", func(o *RemoteOptions) { o.KeyFile = write("strange", pem.EncodeToMemory(strange)) }, false},
		{"with a file that is no key", func(o *RemoteOptions) { o.KeyFile = write("text", []byte("text")) }, false},
		{"as another user", func(o *RemoteOptions) { o.URL = "ssh://root@" + address + "/policy.git" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.change(&o)
			o.Dir = filepath.Join(t.TempDir(), "here.git")
			remote, err := OpenRemote(o)
			if err != nil {
				t.Fatal(err)
			}
			err = remote.Fetch(t.Context())
			here, openErr := Open(Options{Location: o.Dir, Branch: "main", Folder: "policy"})
			if openErr != nil {
				t.Fatal(openErr)
			}
			tip, headErr := here.Head(t.Context())
			if c.want && (err != nil || tip != commits[2]) {
				t.Errorf("the tip is %s (%v), %v", tip, headErr, err)
			}
			if !c.want && (ReasonOf(err) != Unreachable || tip != "") {
				t.Errorf("fetched %q, %v", tip, err)
			}
		})
	}
}
