package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
	"github.com/mayflyproxy/mayfly/scope"
)

// TestSignedApprovalsNeedPersonsWithKeys: what a gateway could not check from the
// signed files is refused when the policy is checked, in words.
func TestSignedApprovalsNeedPersonsWithKeys(t *testing.T) {
	const file = "entitlements/reports/read.yaml"
	w := prooftest.New(t)
	for name, c := range map[string]struct{ file, old, now, want string }{
		"as it is":             {file, "", "", ""},
		"a group":              {file, "[bob, erin, alice]", "[bob, group:idp/leads]", "Git cannot prove who is in a group"},
		"an account":           {file, "[bob, erin, alice]", "[bob, \"user:idp:erin\"]", "is an account"},
		"a person without key": {file, "[bob, erin, alice]", "[bob, carol]", "carol has no keys:"},
		"more than there are":  {file, "count: 2", "count: 4", "nobody could ever satisfy it"},
		"by rule too":          {file, "  signed: true\n", "  signed: true\n  auto: {when: \"true\"}\n", "a rule signs nothing"},
		"no steps":             {file, "  steps:\n    - {any: [bob, erin, alice], count: 2, within: 20m}\n", "", "neither auto nor steps"},
		"neither true nor not": {file, "signed: true", "signed: yes", "want true or false"},
		"a key of two":         {"mayfly.yaml", w.PublicKey(t, prooftest.Stranger), w.PublicKey(t, prooftest.Approver), "the same key is there"},
		"a key in other words": {"mayfly.yaml", w.PublicKey(t, prooftest.Stranger), strings.Replace(w.PublicKey(t, prooftest.Approver), " ", "  ", 1), "the same key is there"},
		"a passkey of two ids": {"mayfly.yaml", `{ssh: "` + w.PublicKey(t, prooftest.Stranger) + `"}`, `{passkey: "AAAA` + w.PasskeyText(t) + `"}`, "the same key is there"},
		"a key that is none":   {"mayfly.yaml", "passkey: ", "passkey: x", "passkey"},
		"a key of another":     {"mayfly.yaml", "ssh-ed25519", "ssh-dss", "SSH key"},
		"two keys in one":      {"mayfly.yaml", "{passkey: ", "{ssh: a, passkey: ", "either ssh or passkey"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for name, text := range w.Files(t) {
				if name == c.file {
					text = strings.Replace(text, c.old, c.now, 1)
				}
				files[name] = []byte(text)
			}
			set, err := policy.Load(files, policy.Options{
				Catalogue:   func(string) (*scope.Catalogue, bool) { return prooftest.Catalogue(), true },
				ApproverKey: proof.KeyName,
			})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if e, _ := set.Entitlement("reports/read"); !e.Signed || !e.Steps[0].Signed {
					t.Error("reports/read is not signed")
				}
				return
			}
			var mistakes policy.Errors
			if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		})
	}
}
