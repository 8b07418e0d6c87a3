package oidc

import (
	"context"
	"fmt"
)

// LogoutFacts are what a logout token says (OpenID Connect Back-Channel Logout
// §2.4): a session at the provider, or all of a subject.
type LogoutFacts struct {
	Subject string // "" if only SID is told
	SID     string // "" if all of Subject's sessions end
}

// Logout verifies a logout token and reads it. Its errors wrap ErrUnavailable or
// ErrProof.
func (r *RP) Logout(_ context.Context, _ string) (LogoutFacts, error) {
	return LogoutFacts{}, fmt.Errorf("%w: not built yet", ErrProof)
}
