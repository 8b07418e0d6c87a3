// Package oauth is Mayfly's OAuth 2.0 authorization server, as small as it can be:
// RFC 8414 metadata and the keys of tokens, one token endpoint (RFC 8693 exchange,
// authorization code with PKCE for the command, client credentials by SVID),
// revocation (RFC 7009) and introspection (RFC 7662). It answers on the public door
// and, for callers that prove themselves by their SVID, on the workloads door (RFC
// 8705 §5). docs/tokens.md is its manual.
//
// Every token is for one live grant and bound to its holder's certificate or DPoP
// key. Which grant, and how far, is decided by package access; what a token looks
// like by package tokens; how a person logs in by package server, which cmd joins
// to this one. Parameters are refused before anything is verified, and what an
// error says is the standard's code and a sentence, never a cause.
package oauth
