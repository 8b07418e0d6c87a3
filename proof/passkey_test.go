package proof_test

import (
	"crypto/sha256"
	"testing"

	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// TestPasskey: a passkey counts when its user was present and verified, at the
// console, on this Offer (WebAuthn Level 3, §7.2).
func TestPasskey(t *testing.T) {
	w := prooftest.New(t)
	key, err := proof.ParsePasskey(w.PasskeyText(t))
	if err != nil {
		t.Fatal(err)
	}
	offer := []byte(`{"v":1}`)
	keys := []proof.Key{{Passkey: &key}}
	for _, c := range []struct {
		name   string
		change func(*prooftest.Touch)
		want   string
	}{
		{"as it is", func(*prooftest.Touch) {}, ""},
		{"with a member that is not known", func(u *prooftest.Touch) { u.Client["other_keys_can_be_added_here"] = "yes" }, ""},
		{"with an extension", func(u *prooftest.Touch) { u.Flags, u.Extra = 0x85, []byte{0xa0} }, ""},
		{"of a synced passkey", func(u *prooftest.Touch) { u.Flags = 0x1d }, ""},
		{"nobody present", func(u *prooftest.Touch) { u.Flags = 0x04 }, "nobody was present"},
		{"nobody verified", func(u *prooftest.Touch) { u.Flags = 0x01 }, "did not verify"},
		{"another site's", func(u *prooftest.Touch) { u.Party = "acme.example" }, "another site"},
		{"at another origin", func(u *prooftest.Touch) { u.Client["origin"] = "https://mayfly.acme.example.evil.example" }, "another origin"},
		{"at another port", func(u *prooftest.Touch) { u.Client["origin"] = prooftest.Origin + ":8443" }, "another origin"},
		{"inside another's page", func(u *prooftest.Touch) { u.Client["crossOrigin"] = true }, "another site's page"},
		{"at registering", func(u *prooftest.Touch) { u.Client["type"] = "webauthn.create" }, "something else than an assertion"},
		{"of another offer", func(u *prooftest.Touch) { u.Client["challenge"] = w.Touch([]byte("{}")).Client["challenge"] }, "something else than this offer"},
		{"another credential", func(u *prooftest.Touch) { u.ID = []byte("other") }, "another passkey"},
		{"of attestation", func(u *prooftest.Touch) { u.Flags, u.Extra = 0x45, []byte{1} }, "something else than an assertion"},
		{"with a tail", func(u *prooftest.Touch) { u.Extra = []byte{1} }, "something else than an assertion"},
		{"backed up, and never to be", func(u *prooftest.Touch) { u.Flags = 0x15 }, "contradicts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := w.Touch(offer)
			c.change(&u)
			refused(t, proof.CheckSignature(w.SignPasskey(t, u), keys, sha256.Sum256(offer), w.Trust(t).Site), c.want)
		})
	}
	t.Run("another's signature", func(t *testing.T) {
		s := w.SignPasskey(t, w.Touch(offer))
		s.Passkey.Signature = prooftest.New(t).SignPasskey(t, w.Touch(offer)).Passkey.Signature
		refused(t, proof.CheckSignature(s, keys, sha256.Sum256(offer), w.Trust(t).Site), "does not hold")
	})
	t.Run("no site", func(t *testing.T) {
		refused(t, proof.CheckSignature(w.SignPasskey(t, w.Touch(offer)), keys, sha256.Sum256(offer), proof.Site{}), "no origin is configured")
	})
	t.Run("a member twice", func(t *testing.T) {
		s := w.SignPasskey(t, w.Touch(offer))
		s.Passkey.ClientData = append([]byte(`{"type":"webauthn.get",`), s.Passkey.ClientData[1:]...)
		refused(t, proof.CheckSignature(s, keys, sha256.Sum256(offer), w.Trust(t).Site), "twice")
	})
}

func TestParsePasskey(t *testing.T) {
	w := prooftest.New(t)
	good := w.PasskeyText(t)
	for _, bad := range []string{"", ".", good + "A", good[:len(good)-2], "." + good, good + "=", good + "\n", good[1:]} {
		if bad == good {
			continue
		}
		if k, err := proof.ParsePasskey(bad); err == nil && k.String() == good {
			t.Errorf("%q was read as %s", bad, k)
		}
	}
}

func TestParseSite(t *testing.T) {
	for origin, host := range map[string]string{
		"https://mayfly.acme.example": "mayfly.acme.example", "https://mayfly.acme.example:8443": "mayfly.acme.example", "http://localhost:8443": "localhost",
		"http://mayfly.acme.example": "", "https://mayfly.acme.example/": "", "https://Mayfly.acme.example": "", "https://": "", "mayfly.acme.example": "", "https://a@b": "",
	} {
		s, err := proof.ParseSite(origin)
		if (err == nil) != (host != "") || s.Host() != host {
			t.Errorf("%s: host %q, error %v", origin, s.Host(), err)
		}
	}
}
