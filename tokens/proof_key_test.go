package tokens

import (
	"testing"

	"github.com/mayflyproxy/mayfly/grant"
)

// A stolen token and a key of one's own must not fill what its holder needs.
func TestDpopProofsByAnotherKeyTakeNoRoom(t *testing.T) {
	holder, thief, proofs := newClient(t, ES256), newClient(t, ES256), newProofs(t, ProofConfig{Replay: 1})
	jkt, err := holder.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	of := presented()
	of.Key = &jkt
	for _, jti := range []string{"1", "2", "3"} {
		if _, err := proofs.Verify(thief.forge(t, thief.header, thief.body(jti)), of, testNow()); grant.ReasonOf(err) != grant.TokenNotBound {
			t.Fatalf("another key's proof: %v, want token_not_bound", err)
		}
	}
	if _, err := proofs.Verify(holder.forge(t, holder.header, holder.body("1")), of, testNow()); err != nil {
		t.Errorf("the holder's proof after a thief's: %v", err)
	}
}
