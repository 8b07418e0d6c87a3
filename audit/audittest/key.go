package audittest

import (
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

// NewKey makes a key of a record: what signs its checkpoints, and what opens them.
func NewKey(t testing.TB) (*audit.Signer, *audit.Verifier) {
	t.Helper()
	secret, public, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := audit.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}
