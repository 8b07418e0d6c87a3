// Package interop holds the tokens of a real mayflyd, and its endpoints, against
// implementations that are not ours: npm jose, PyPI jwcrypto, latchset jose and Apache
// with mod_oauth2 verify them, npm oauth4webapi is the client, npm ajv holds their
// authorization details to the published schemas. Each is also shown to refuse a token
// that was planted bad.
//
// docs/interop.md is what the run says; a test holds the file to it.
package interop
