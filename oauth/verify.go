package oauth

import "github.com/mayflyproxy/mayfly/tokens"

// verify reads a token of ours whoever it is bound to and whatever it is for: for
// its holder's revocation, for introspection, and for the app that exchanges it.
// Nothing is let through by it.
func (s *Server) verify(text string) (*tokens.Claims, error) {
	return s.verifier.VerifyUnbound(text, s.c.Now())
}
