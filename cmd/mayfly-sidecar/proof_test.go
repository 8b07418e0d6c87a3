package main

import (
	"strings"
	"testing"
)

func TestCheckOfProof(t *testing.T) {
	const signer = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83"
	whole := "proof:\n  apps: [stripe]\n  policy_signers: [\"" + signer + "\"]\n  policy_folder: policy\n  since: 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" +
		"  console: https://mayfly.acme.example\n"
	for _, c := range []struct{ name, old, now, want string }{
		{"whole", "", "", ""},
		{"no apps", "  apps: [stripe]\n", "", "both of them"},
		{"no signer", "  policy_signers: [\"" + signer + "\"]\n", "", "both of them"},
		{"a signer's comment", "DyI83\"", "DyI83 carol\"", "nothing besides"},
		{"a signer that is none", "ssh-ed25519 ", "ssh-ed25519 A", "policy_signers[0]"},
		{"a folder outside", "policy_folder: policy", "policy_folder: ../policy", "below the root"},
		{"a branch for a commit", "since: 4b825dc642cb6eb9a060e54bf8d69288fbee4904", "since: main", "full name of a commit"},
		{"a page for an origin", "acme.example\n", "acme.example/console\n", "proof.console"},
		{"an unknown key", "  apps:", "  app: x\n  apps:", "unknown field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check(t, true, strings.Replace(whole, c.old, c.now, 1))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
