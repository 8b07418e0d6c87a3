package cli

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/proof"
)

// signing is how an approval is signed: with a key, or by a signature that was made
// elsewhere. The zero value signs nothing.
type signing struct{ key, signature string }

func (s signing) isZero() bool { return s == signing{} }

// sign signs the digest of an offer, given in hex.
func (s signing) sign(digest, agentSocket string) (*api.Signature, error) {
	if s.signature != "" {
		b, err := os.ReadFile(s.signature)
		if err != nil {
			return nil, fmt.Errorf("--signature: %w", err)
		}
		return &api.Signature{SSH: string(b)}, nil
	}
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != 32 {
		return nil, errors.New("the offer has no digest that could be signed")
	}
	key, done, err := signer(s.key, agentSocket)
	if err != nil {
		return nil, err
	}
	defer done()
	text, err := proof.SignSSH(key, proof.NamespaceApproval, proof.Message([32]byte(sum)))
	if err != nil {
		return nil, err
	}
	return &api.Signature{SSH: text}, nil
}

// signer opens a private key file. One under a passphrase, or a public key alone, is
// used through the agent.
func signer(path, agentSocket string) (ssh.Signer, func(), error) {
	nothing := func() {}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nothing, hinted{fmt.Errorf("--sign-with: %w", err), "--sign-with names an SSH key of yours, such as ~/.ssh/id_ed25519"}
	}
	var locked *ssh.PassphraseMissingError
	key, err := ssh.ParsePrivateKey(b)
	switch {
	case err == nil:
		return key, nothing, nil
	case errors.As(err, &locked):
		if b, err = os.ReadFile(path + ".pub"); err != nil {
			return nil, nothing, fmt.Errorf("%s is under a passphrase; to use it through the agent its public key is needed: %w", path, err)
		}
	case !strings.HasSuffix(path, ".pub"):
		return nil, nothing, fmt.Errorf("%s holds no SSH private key: %w", path, err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, nothing, fmt.Errorf("public key of %s: %w", path, err)
	}
	return agentSigner(public, agentSocket)
}

func agentSigner(public ssh.PublicKey, socket string) (ssh.Signer, func(), error) {
	nothing := func() {}
	if socket == "" {
		return nil, nothing, hinted{errors.New("no SSH agent: SSH_AUTH_SOCK is not set"), "start ssh-agent and ssh-add the key, or name the private key"}
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, nothing, fmt.Errorf("SSH agent: %w", err)
	}
	keys, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, nothing, errors.Join(fmt.Errorf("SSH agent: %w", err), conn.Close())
	}
	for _, k := range keys {
		if bytes.Equal(k.PublicKey().Marshal(), public.Marshal()) {
			return k, func() { _ = conn.Close() }, nil
		}
	}
	return nil, nothing, errors.Join(fmt.Errorf("the SSH agent has no key %s; ssh-add it", ssh.FingerprintSHA256(public)), conn.Close())
}
