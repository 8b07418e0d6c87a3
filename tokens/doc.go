// Package tokens owns Mayfly's access tokens: their claims, the keys that sign
// them, the issuer and the one verifier. A token is an RFC 9068 access token for
// one grant, at most five minutes long, bound to the certificate (RFC 8705) or the
// DPoP key (RFC 9449) of its holder; whoever else has its text has nothing. It
// owns both sides of DPoP proofs too.
//
// Verifying is strict before it is cryptographic: a token that can be read in two
// ways is refused, whoever signed it. docs/tokens.md is the profile.
//
// It does not know which grants live, which tokens were revoked, or who may have
// one: a verified token only narrows what its live grant allows.
package tokens
