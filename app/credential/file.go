package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/mayflyproxy/mayfly/grant"
)

// Use says what a secret is wanted for.
type Use struct {
	Name string // in policy
	App  string // in policy
	Host string // where it would go: as in the upstream's URL, with the port if that names one
}

// A Source gives secrets.
type Source interface {
	// Secret returns the secret named by u, if it may go to u's app and host. An
	// error is a *grant.Denial, credential_unavailable, and its private cause says
	// what the operator must mend. It is safe for concurrent use.
	Secret(ctx context.Context, u Use) (Secret, error)
}

// Entry is one secret in the sidecar's configuration.
type Entry struct {
	File  string   `yaml:"file"`  // absolute
	Apps  []string `yaml:"apps"`  // the apps that it may be used for
	Hosts []string `yaml:"hosts"` // the upstream hosts that it may go to, lower case, with the port if the upstream's URL names one
}

// Config is what a Files needs.
type Config struct {
	Entries map[string]Entry // by the name in policy
	Dev     bool             // also take files that other accounts can read
}

// Files is the Source that reads each secret from a file of its own. It reads a
// file again when it has changed, at the next use. Make it with NewFiles.
type Files struct {
	entries map[string]Entry
	dev     bool

	mu   sync.Mutex
	held map[string]loaded // by name
}

type loaded struct {
	identity identity
	secret   Secret
}

// identity changes whenever a file is written or replaced.
type identity struct {
	device, inode          uint64
	size, modified, status int64 // bytes, ns, ns
}

// NewFiles checks the entries; it reads no file.
func NewFiles(c Config) (*Files, error) {
	f := &Files{entries: make(map[string]Entry, len(c.Entries)), dev: c.Dev, held: map[string]loaded{}}
	for name, e := range c.Entries {
		if name == "" || !filepath.IsAbs(e.File) || len(e.Apps) == 0 || len(e.Hosts) == 0 {
			return nil, fmt.Errorf("secret %q: want an absolute file, and the apps and hosts that it may be used for", name)
		}
		for _, host := range e.Hosts {
			if host == "" || host != strings.ToLower(host) || strings.ContainsAny(host, "/*@ ") {
				return nil, fmt.Errorf("secret %q: host %q: want a plain host in lower case, with its port if it has one", name, host)
			}
		}
		f.entries[name] = e
	}
	return f, nil
}

// Allows reports whether u is within the configuration, without reading the
// file: nil is yes, a *grant.Denial says why not.
func (f *Files) Allows(u Use) error {
	e, ok := f.entries[u.Name]
	switch {
	case !ok:
		return unavailable(u, fmt.Errorf("secret %q is not configured here", u.Name))
	case !slices.Contains(e.Apps, u.App):
		return unavailable(u, fmt.Errorf("secret %q is not configured for the app %q", u.Name, u.App))
	case !slices.Contains(e.Hosts, strings.ToLower(u.Host)):
		return unavailable(u, fmt.Errorf("secret %q is not configured for the host %q", u.Name, u.Host))
	}
	return nil
}

// Secret implements Source.
func (f *Files) Secret(ctx context.Context, u Use) (Secret, error) {
	if err := f.Allows(u); err != nil {
		return Secret{}, err
	}
	if err := ctx.Err(); err != nil {
		return Secret{}, unavailable(u, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.current(u.Name)
	if err != nil {
		delete(f.held, u.Name)
		return Secret{}, unavailable(u, err)
	}
	return s, nil
}

func unavailable(u Use, cause error) *grant.Denial {
	return grant.Deny(grant.CredentialUnavailable, "the gateway has no usable credential for the app %s", u.App).Because(cause)
}

// current is called with mu held.
func (f *Files) current(name string) (Secret, error) {
	path := f.entries[name].File
	info, err := os.Stat(path)
	if err != nil {
		return Secret{}, err
	}
	if held, ok := f.held[name]; ok && held.identity == identityOf(info) && f.check(info) == nil {
		return held.secret, nil
	}
	raw, info, err := f.read(path)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", path, err)
	}
	id := identityOf(info)
	secret, err := New(name, id.version(), raw)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", path, err)
	}
	f.held[name] = loaded{id, secret}
	return secret, nil
}

// read opens without blocking, so that a named pipe in the file's place is
// refused instead of waited for.
func (f *Files) read(path string) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if err := f.check(info); err != nil {
		return nil, nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSecret+3))
	if err != nil {
		return nil, nil, err
	}
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	return bytes.TrimSuffix(raw, []byte("\r")), info, nil
}

func (f *Files) check(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if info.Mode().Perm()&0o077 != 0 && !f.dev {
		return fmt.Errorf("mode %v lets other accounts in: want 0600 or 0400", info.Mode().Perm())
	}
	return nil
}

func identityOf(info os.FileInfo) identity {
	id := identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.device, id.inode, id.status = s.Dev, s.Ino, s.Ctim.Nano()
	}
	return id
}

// version names a content of the file by when it was written and where it lies.
func (id identity) version() string {
	return strconv.FormatInt(id.modified, 36) + "-" + strconv.FormatUint(id.inode, 36)
}
