// Package oidc owns what an OpenID provider proves: mayflyd is the relying party
// of one provider an RP. It begins a login (authorization code with PKCE, state and
// nonce), finishes it, asks again later with the refresh token, reads logout tokens
// (OpenID Connect Back-Channel Logout 1.0), and says what was proved. Which claims
// make the account and its groups is the configuration's to say.
//
// Everything it asks goes through one way out, which reaches no address of the
// machine, its cloud or its private networks unless that is listed.
//
// It stores nothing: what a login under way needs, and the refresh token, are
// handed to the caller. It remembers for minutes which logout tokens it has seen.
// It does not make or end sessions, count persons or decide anything; those are
// access's and policy's.
package oidc
