package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/api"
)

// PolicyHook is where a forge says that there may be a new commit of policy.
type PolicyHook struct {
	// Secret is what the forge signs its calls with.
	Secret []byte
	// Pushed is called for each call that is signed; it must not block. Nothing of the
	// call is believed: the repository is looked at, as on any other day.
	Pushed func()
}

const (
	policyHookPath = "/hooks/policy"
	// hookSignature is how GitHub, Gitea and Forgejo sign a call: sha256= and the HMAC of
	// the body.
	hookSignature = "X-Hub-Signature-256"
	maxHook       = 8 << 20 // bytes
	minHookSecret = 16      // bytes
)

// policyHook takes a signed call. A call that is replayed has the repository looked
// at once more.
func (s *Server) policyHook(w http.ResponseWriter, r *http.Request) error {
	if s.c.PolicyHook == nil {
		return problem(http.StatusNotFound, codeNoRoute, "Not found", "mayflyd has no policy.webhook_secret: it looks at the repository at its interval only")
	}
	if err := allow(s.hooks, r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	if err != nil {
		return problem(http.StatusRequestEntityTooLarge, codeTooLarge, "Too large", "the call has more than 8 MiB")
	}
	text, ok := strings.CutPrefix(r.Header.Get(hookSignature), "sha256=")
	got, err := hex.DecodeString(text)
	mac := hmac.New(sha256.New, s.c.PolicyHook.Secret)
	mac.Write(body)
	if !ok || err != nil || len(r.Header.Values(hookSignature)) != 1 || !hmac.Equal(got, mac.Sum(nil)) {
		return unsigned()
	}
	s.c.PolicyHook.Pushed()
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func unsigned() *api.Problem {
	return problem(http.StatusUnauthorized, codeNotSigned, "Not signed", "want "+hookSignature+": sha256= and the HMAC of the body under policy.webhook_secret")
}
