package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

func (in *reader) verify(commit string, signers []policy.Signer) (policy.Signer, error) {
	c, err := in.commit(commit)
	if err != nil {
		return policy.Signer{}, err
	}
	fail := func(r Reason, format string, args ...any) (policy.Signer, error) {
		return policy.Signer{}, &Error{Reason: r, Commit: commit, Message: fmt.Sprintf(format, args...)}
	}
	text := strings.TrimSpace(c.PGPSignature)
	switch {
	case text == "":
		return fail(Unsigned, "it is not signed; sign with git commit -S and gpg.format ssh")
	case strings.HasPrefix(text, "-----BEGIN PGP"):
		return fail(ForgeSignature, "it is signed by OpenPGP, as forges sign their merges: a forge's merge signature is not taken; sign the tip with the SSH key of a signer")
	case !proof.IsSSHSignature(text):
		return fail(ForgeSignature, "it has no SSH signature; sign the tip with the SSH key of a signer")
	}
	payload, err := payloadOf(c)
	if err != nil {
		return fail(BadSignature, "its signed content cannot be made: %v", err)
	}
	key, err := proof.SSHSigner(text, proof.NamespaceGit, payload)
	if err != nil {
		return fail(BadSignature, "its signature does not hold: %v", err)
	}
	for _, s := range signers {
		if listed, err := proof.ParseSSHKey(s.Key); err == nil && bytes.Equal(listed.Marshal(), key.Marshal()) {
			return s, nil
		}
	}
	return fail(UnknownSigner, "it is signed by %s, which is no signer of the policy in force", ssh.FingerprintSHA256(key))
}

// maxCosigned is how many commits that change nothing are looked at.
const maxCosigned = 64

// cosigners returns the other persons who signed what tip holds: going back from it
// by commits with one parent as long as that holds the very same tree. One that is not
// signed, or by nobody who is listed, ends nothing and counts for nothing. What is in
// force already is not looked at: it was signed by itself.
func (in *reader) cosigners(tip, inForce string, first policy.Signer, signers []policy.Signer) ([]policy.Signer, error) {
	seen := map[string]bool{first.Person: true}
	var out []policy.Signer
	c, err := in.commit(tip)
	if err != nil {
		return nil, err
	}
	for range maxCosigned {
		if len(c.ParentHashes) != 1 || c.ParentHashes[0].String() == inForce {
			return out, nil
		}
		name := c.ParentHashes[0].String()
		parent, err := in.commit(name)
		if err != nil {
			return nil, err
		}
		if parent.TreeHash != c.TreeHash {
			return out, nil
		}
		if s, err := in.verify(name, signers); err == nil && !seen[s.Person] {
			seen[s.Person] = true
			out = append(out, s)
		}
		c = parent
	}
	return out, nil
}

// authors returns who signed the commits between the one in force and tip, tip among
// them, each person once. Commits of others that were merged from before it may be among
// them: that bars somebody for a day, and lets nobody through.
func (in *reader) authors(ctx context.Context, tip, inForce string, signers []policy.Signer) ([]policy.Signer, error) {
	var out []policy.Signer
	persons, seen, next := map[string]bool{}, map[string]bool{tip: true, inForce: true}, []string{tip}
	for n := 0; len(next) > 0 && n < maxLineage; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := next[0]
		next = next[1:]
		if s, err := in.verify(name, signers); err == nil && !persons[s.Person] {
			persons[s.Person] = true
			out = append(out, s)
		}
		c, err := in.commit(name)
		if err != nil {
			return nil, err
		}
		for _, p := range c.ParentHashes {
			if !seen[p.String()] {
				seen[p.String()] = true
				next = append(next, p.String())
			}
		}
	}
	return out, nil
}

// payloadOf returns the commit's bytes without its signature.
func payloadOf(c interface {
	EncodeWithoutSignature(plumbing.EncodedObject) error
}) (b []byte, err error) {
	o := &plumbing.MemoryObject{}
	if err := c.EncodeWithoutSignature(o); err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
