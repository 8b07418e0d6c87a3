// Package provider runs npm oidc-provider as an identity provider: one that
// somebody else wrote, with habits of its own. It logs people in on its own pages,
// publishes several keys, gives refresh tokens that are used once, tells clients
// that a session has ended, and forgets people on demand.
//
// It is for tests only: it takes any password.
package provider
