package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/ssh"
)

// fetchLimit is how long one fetch may take.
const fetchLimit = time.Minute

// RemoteOptions say from where a branch is fetched. URL and Branch are required.
type RemoteOptions struct {
	URL    string // https://…, ssh://…, or file://… of a repository on this disk
	Branch string
	Dir    string // the bare repository that it is fetched into; made if it is not there
	// User and TokenFile are for https. The file is read at each fetch.
	User      string
	TokenFile string
	CAFile    string // PEM of the roots that the server's certificate is checked with; "": the system's
	// KeyFile and KnownHosts are for ssh, and both are required then.
	KeyFile    string
	KnownHosts string
}

// Remote brings one branch into a repository. What comes is believed no more than what
// others bring there: Candidate checks it. It is not safe for concurrent use.
type Remote struct {
	o    RemoteOptions
	url  *url.URL
	repo *gogit.Repository
}

// OpenRemote checks o and makes the repository if it is not there. It reaches nobody.
func OpenRemote(o RemoteOptions) (*Remote, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("policy.remote.url: %w", err)
	case u.User != nil && u.Scheme != "ssh", u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("policy.remote.url: want no user, query and fragment in it")
	case u.Scheme == "ssh" && (o.KeyFile == "" || o.KnownHosts == ""):
		return nil, errors.New("policy.remote: ssh needs ssh_key and known_hosts")
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "file":
		return nil, fmt.Errorf("policy.remote.url: %q, want https://, ssh:// or file://", u.Scheme)
	case o.Branch == "" || plumbing.NewBranchReferenceName(o.Branch).Validate() != nil:
		return nil, fmt.Errorf("policy.branch: %q is no name of a branch", o.Branch)
	}
	repo, err := gogit.PlainOpen(o.Dir)
	if errors.Is(err, gogit.ErrRepositoryNotExists) {
		repo, err = gogit.PlainInit(o.Dir, true)
	}
	if err != nil {
		return nil, fmt.Errorf("policy repository %s: %w", o.Dir, err)
	}
	return &Remote{o: o, url: u, repo: repo}, nil
}

// Fetch brings the branch as it is there, and takes what is gone there away here: what
// was forced away stays on no branch. Its error is an *Error with Unreachable.
func (r *Remote) Fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	err := r.fetch(ctx)
	if err == nil || errors.Is(err, gogit.NoErrAlreadyUpToDate) {
		return nil
	}
	return &Error{Reason: Unreachable, Message: fmt.Sprintf("%s cannot be fetched: %v", r.url.Redacted(), err), cause: err}
}

func (r *Remote) fetch(ctx context.Context) error {
	auth, err := r.auth()
	if err != nil {
		return err
	}
	var roots []byte
	if r.o.CAFile != "" {
		if roots, err = os.ReadFile(r.o.CAFile); err != nil {
			return err
		}
	}
	branch := plumbing.NewBranchReferenceName(r.o.Branch)
	remote := gogit.NewRemote(r.repo.Storer, &config.RemoteConfig{Name: "origin", URLs: []string{r.o.URL}})
	return remote.FetchContext(ctx, &gogit.FetchOptions{
		RefSpecs: []config.RefSpec{config.RefSpec("+" + branch.String() + ":" + branch.String())},
		Tags:     gogit.NoTags, Force: true, Auth: auth, CABundle: roots,
	})
}

func (r *Remote) auth() (transport.AuthMethod, error) {
	switch {
	case r.url.Scheme == "ssh":
		user := r.url.User.Username()
		if user == "" {
			user = "git"
		}
		keys, err := ssh.NewPublicKeysFromFile(user, r.o.KeyFile, "")
		if err != nil {
			return nil, fmt.Errorf("ssh_key: %w", err)
		}
		if keys.HostKeyCallback, err = ssh.NewKnownHostsCallback(r.o.KnownHosts); err != nil {
			return nil, fmt.Errorf("known_hosts: %w", err)
		}
		return keys, nil
	case r.o.TokenFile != "":
		token, err := readToken(r.o.TokenFile)
		if err != nil {
			return nil, err
		}
		return &http.BasicAuth{Username: r.o.User, Password: token}, nil
	default:
		return nil, nil
	}
}

// readToken reads a file with a token and at most a line break.
func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimRight(string(b), "\r\n")
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: want a token and nothing else", path)
	}
	return token, nil
}
