// Package oidc owns logging a person in at an OpenID provider: mayflyd is the
// relying party. It begins a login (authorization code with PKCE, state and
// nonce), finishes it, and says what the provider proved.
//
// It keeps nothing: what a login under way needs is handed to the caller, who
// stores it. It does not make sessions, count persons or decide anything; those
// are access's and policy's.
package oidc
