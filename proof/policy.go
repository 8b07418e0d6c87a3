package proof

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/identity"
)

// Trust is what a checker believes without proof, from its own configuration.
type Trust struct {
	// Signers may sign a commit of policy.
	Signers []ssh.PublicKey
	// Folder is the slash path of the policy folder in the repository, "" for its root.
	Folder string
	// Site is where passkeys are used. Zero: no passkey counts.
	Site Site
}

// Objects are the git objects that prove one commit's policy: the commit, some of
// its ancestors, every tree down to the files, and the files needed.
type Objects struct {
	Commits, Trees, Blobs [][]byte
}

// Policy is what a signed commit says about who approves what. It is never changed.
type Policy struct {
	commit       string
	trust        Trust
	ancestors    map[string]bool
	people       map[string]person
	entitlements map[string]entitlement
}

const (
	peopleFile         = "mayfly.yaml"
	entitlementsFolder = "entitlements"
)

// Read walks from the name of a commit to the files, and checks that one of the
// trusted signers signed the commit.
func (t Trust) Read(name string, in Objects) (*Policy, error) {
	if !isName(name) {
		return nil, fmt.Errorf("%.64q is no full name of a commit", name)
	}
	o := objects{}
	for objectType, list := range map[string][][]byte{commitObject: in.Commits, treeObject: in.Trees, blobObject: in.Blobs} {
		for _, b := range list {
			if _, err := o.add(objectType, b); err != nil {
				return nil, err
			}
		}
	}
	content, err := o.get(commitObject, name)
	if err != nil {
		return nil, err
	}
	c, err := readCommit(content)
	if err != nil {
		return nil, err
	}
	if err := t.checkSigned(c); err != nil {
		return nil, err
	}
	p := &Policy{commit: name, trust: t, entitlements: map[string]entitlement{}}
	if p.ancestors, err = o.ancestors(name); err != nil {
		return nil, err
	}
	return p, p.read(o, c.tree, t.Folder)
}

func (t Trust) checkSigned(c commit) error {
	if c.signature == "" {
		return errors.New("the commit is not signed")
	}
	key, err := SSHSigner(c.signature, NamespaceGit, c.payload)
	if err != nil {
		return fmt.Errorf("the commit's signature does not hold: %w", err)
	}
	for _, s := range t.Signers {
		if sameKey(s, key) {
			return nil
		}
	}
	return fmt.Errorf("the commit is signed by %s, which is no signer of the configuration", ssh.FingerprintSHA256(key))
}

// ancestors returns the commit and those before it, as far as they are there.
func (o objects) ancestors(name string) (map[string]bool, error) {
	seen, next := map[string]bool{name: true}, []string{name}
	for len(next) > 0 {
		content, ok := o[commitObject+" "+next[0]]
		next = next[1:]
		if !ok {
			continue
		}
		c, err := readCommit(content)
		if err != nil {
			return nil, err
		}
		for _, parent := range c.parents {
			if !seen[parent] {
				seen[parent] = true
				next = append(next, parent)
			}
		}
	}
	return seen, nil
}

func (p *Policy) read(o objects, tree, folder string) error {
	path := peopleFile
	if folder != "" {
		path = folder + "/" + peopleFile
	}
	file, err := o.file(tree, path)
	if err != nil {
		return err
	}
	if p.people, err = readPeople(file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	below := entitlementsFolder
	if folder != "" {
		below = folder + "/" + entitlementsFolder
	}
	files, err := o.files(tree, below)
	if err != nil {
		return err
	}
	for path, file := range files {
		e, err := readEntitlement(file)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, twice := p.entitlements[e.name]; twice {
			return fmt.Errorf("%s: %s stands in another file too", path, e.name)
		}
		p.entitlements[e.name] = e
	}
	return nil
}

// Commit returns the commit's name.
func (p *Policy) Commit() string { return p.commit }

// Descends reports whether the commit is older, or shown to come after it.
func (p *Policy) Descends(older string) bool { return p.ancestors[older] }

// personOf returns who is behind an account: the person that lists it, else the
// account for itself.
func (p *Policy) personOf(account identity.Principal) string {
	for name, one := range p.people {
		for _, a := range one.accounts {
			if a == account {
				return name
			}
		}
	}
	return account.String()
}
