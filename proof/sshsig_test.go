package proof

import (
	"testing"
)

// No text may make a signature of nothing, or panic.
func FuzzParseArmour(f *testing.F) {
	f.Add("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----")
	f.Add("-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseArmour(text)
		if err != nil {
			return
		}
		if key, err := s.check(NamespaceGit, []byte("a commit that nobody signed")); err == nil {
			t.Errorf("%q signs by %s what was never signed", text, key.Type())
		}
	})
}
