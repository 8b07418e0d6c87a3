package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestSignWith: a key file, a public key through the agent, and a signature that
// ssh-keygen made are one and the same to whoever checks.
func TestSignWith(t *testing.T) {
	w := prooftest.New(t)
	offer := []byte(`{"v":1}`)
	sum := sha256.Sum256(offer)
	bob, err := proof.ParseKey("ssh", w.PublicKey(t, prooftest.Approver))
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(t.TempDir(), "approval.sig")
	if err := os.WriteFile(made, []byte(w.SignSSH(t, prooftest.Approver, offer).SSH), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := startAgent(t, w.KeyFile(prooftest.Approver))
	for name, s := range map[string]signing{
		"a key file":       {key: w.KeyFile(prooftest.Approver)},
		"the agent":        {key: w.KeyFile(prooftest.Approver) + ".pub"},
		"made elsewhere":   {signature: made},
		"another's key":    {key: w.KeyFile(prooftest.Stranger)},
		"not in the agent": {key: w.KeyFile(prooftest.Stranger) + ".pub"},
		"no key":           {key: made},
		"no file":          {key: made + ".none"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.sign(hex.EncodeToString(sum[:]), socket)
			if err == nil {
				err = proof.CheckSignature(proof.Signature{SSH: got.SSH}, []proof.Key{bob}, sum, proof.Site{})
			}
			good := name == "a key file" || name == "the agent" || name == "made elsewhere"
			if (err == nil) != good {
				t.Errorf("signed by bob: %v", err)
			}
		})
	}
}

// startAgent serves an SSH agent that holds one key.
func startAgent(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}
