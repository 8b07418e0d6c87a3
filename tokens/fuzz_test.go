package tokens

import (
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/grant"
)

// FuzzVerify: whatever bytes come, no panic and no yes but for what was signed. The
// fuzzer's text is taken as a token, and as the payload of one that is properly signed.
func FuzzVerify(f *testing.F) {
	h := newHouse(f, ES256)
	token := h.sign(f, good(f))
	f.Add(token)
	f.Add(payload(f))
	f.Add(strings.Repeat(".", 100))
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := h.verifier.Verify(text, testNow(), expected()); err == nil && text != token {
			t.Fatalf("%q is a token: %+v", text, c)
		}
		IsToken(text)
		c, err := h.verifier.VerifyUnbound(h.forge(t, h.header(), text), testNow())
		if err != nil {
			if c != nil || grant.ReasonOf(err) != grant.BadToken && grant.ReasonOf(err) != grant.Ended {
				t.Fatalf("%v, %v", c, err)
			}
			return
		}
		if err := c.check(); err != nil { // what is read keeps every rule, and can be written
			t.Fatal(err)
		}
		again, err := c.payload()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := readClaims(string(again)); err != nil || back.ID != c.ID || Narrows(back.Details, c.Details) != nil && Narrows(c.Details, c.Details) == nil {
			t.Fatalf("%+v is read back as %+v, %v", c, back, err)
		}
	})
}

// FuzzProof: as FuzzVerify, for DPoP proofs.
func FuzzProof(f *testing.F) {
	prover, err := NewProver()
	if err != nil {
		f.Fatal(err)
	}
	const address = "https://stripe.acme.example/v1/charges"
	proof, err := prover.Prove("GET", address, "token", "", testNow())
	if err != nil {
		f.Fatal(err)
	}
	head, rest, _ := strings.Cut(proof, ".")
	body, _, _ := strings.Cut(rest, ".")
	for _, segment := range []string{head, body} {
		text, err := decode64(segment)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	header, err := decode64(head)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		proofs, err := NewProofs(ProofConfig{Replay: 4})
		if err != nil {
			t.Fatal(err)
		}
		of := Presented{Method: "GET", URL: address, Token: "token"}
		for _, forged := range [][2]string{{text, "{}"}, {string(header), text}} {
			made, err := seal(prover.key, []byte(forged[0]), []byte(forged[1]))
			if err != nil {
				t.Fatal(err)
			}
			jkt, err := proofs.Verify(made, of, testNow())
			if (err == nil) == (jkt == [32]byte{}) {
				t.Fatalf("%x, %v", jkt, err)
			}
		}
	})
}

// FuzzDetails: what is read keeps to the limits, is read again as the same, and lies
// within itself.
func FuzzDetails(f *testing.F) {
	c := good(f)
	body := payload(f)
	_, rest, _ := strings.Cut(body, `"authorization_details":`)
	list, _, _ := strings.Cut(rest, `,"auth_time"`)
	f.Add(list)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseJSON(text)
		if err != nil {
			return
		}
		read, err := n.details()
		if err != nil {
			return
		}
		c.Details = read
		if c.check() != nil {
			return
		}
		written, err := c.payload()
		if err != nil {
			t.Fatal(err)
		}
		back, err := readClaims(string(written))
		if err != nil {
			t.Fatalf("%s is read and then not: %v", text, err)
		}
		if err := Narrows(back.Details, read); err != nil && Narrows(read, read) == nil {
			t.Fatalf("%s comes back as more", text)
		}
	})
}
