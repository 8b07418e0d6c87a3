package tokens

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// wycheproofFile is as much of a file of vectors as is asked for.
type wycheproofFile struct {
	Count  int `json:"numberOfTests"`
	Groups []struct {
		Comment string          `json:"comment"`
		Public  json.RawMessage `json:"public"`
		Private json.RawMessage `json:"private"` // of a symmetric key there is no public part
		Tests   []struct {
			ID      int    `json:"tcId"`
			Comment string `json:"comment"`
			JWS     string `json:"jws"`
			Result  string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func wycheproofVectors(t *testing.T, name string) wycheproofFile {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var f wycheproofFile
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// lowest is the part of every verification of ours that knows no profile of claims:
// form, algorithm, key, signature.
func lowest(jws string, key PublicKey) error {
	c, err := splitCompact(jws)
	if err != nil {
		return err
	}
	alg, err := algOf(c.header.get("alg"))
	if err != nil {
		return err
	}
	return c.verify(alg, key)
}

// outside says why a group's valid vectors are refused here: algorithms that the
// profile does not have, so that nobody can be talked into them. It is the whole list
// of our disagreements. golang-jwt alone has 18: six PSS salts, four keys for other
// uses, two paddings, two inserted characters, four mislabelled algorithms of RFC 7520.
func outside() map[string]string {
	const (
		symmetric = "HMAC: one key signs and verifies"
		larger    = "RSA with SHA-384 or SHA-512: not of the profile"
		pss       = "RSASSA-PSS: not of the profile"
	)
	return map[string]string{
		"hs256": symmetric, "base64": symmetric, "HS256": symmetric, "HS384": symmetric, "HS512": symmetric, "jws_keyset": symmetric,
		"rs384": larger, "rs512": larger, "ps256": pss, "ps384": pss, "ps512": pss,
		"rfc7520":           "HS256, PS256 and ES512 beside RS256",
		"rfc7520WithKeyOps": "PS256 and ES512 beside RS256",
	}
}

// TestTokenSignaturesAgainstWycheproof: every vector that must fail fails, and every
// vector of ES256 and RS256 that must pass passes.
func TestTokenSignaturesAgainstWycheproof(t *testing.T) {
	f := wycheproofVectors(t, "json_web_signature_test.json")
	seen, passed := 0, map[string]int{}
	for _, g := range f.Groups {
		key, err := ParseJWK(g.Public)
		for _, c := range g.Tests {
			seen++
			got := err
			if got == nil {
				got = lowest(c.JWS, key)
			}
			switch {
			case got == nil && c.Result != "valid":
				t.Errorf("%s %d (%s) passes and must not", g.Comment, c.ID, c.Comment)
			case got == nil:
				passed[g.Comment]++
			case c.Comment == "emptyPayload": // no token and no proof of ours has none
			case c.Result == "valid" && outside()[g.Comment] == "":
				t.Errorf("%s %d (%s): %v", g.Comment, c.ID, c.Comment, got)
			}
		}
	}
	if seen != f.Count || seen < 401 {
		t.Errorf("%d of %d vectors", seen, f.Count)
	}
	for group, want := range map[string]int{"es256": 1, "SpecialCaseEs256": 1, "rs256": 5, "rfc7520": 1, "rfc7520WithKeyOps": 1} {
		if passed[group] != want {
			t.Errorf("%s: %d valid vectors pass, want %d", group, passed[group], want)
		}
	}
}

// TestTokenKeysAgainstWycheproof: a set of keys that holds a weak, ambiguous or
// mistyped one verifies nothing.
func TestTokenKeysAgainstWycheproof(t *testing.T) {
	f := wycheproofVectors(t, "json_web_key_test.json")
	passed := 0
	for _, g := range f.Groups {
		text := g.Public
		if text == nil {
			text = g.Private
		}
		set, err := ParseJWKS(text)
		for _, c := range g.Tests {
			got := err
			if got == nil {
				got = errors.New("no key")
				for _, k := range set.Keys() {
					got = lowest(c.JWS, k)
				}
			}
			switch {
			case g.Comment == "jws_rsa_roca_key":
				// Infineon's weak keys are not told from others: the token service makes its
				// own, and a weak DPoP key harms its holder alone.
			case got == nil && c.Result != "valid":
				t.Errorf("%s %d (%s) passes and must not", g.Comment, c.ID, c.Comment)
			case got == nil:
				passed++
			case c.Result == "valid" && outside()[g.Comment] == "":
				t.Errorf("%s %d (%s): %v", g.Comment, c.ID, c.Comment, got)
			}
		}
	}
	if passed == 0 {
		t.Error("not one valid vector passes")
	}
}
