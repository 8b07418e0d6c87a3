// Package credential owns the secrets that a sidecar adds to requests: Secret,
// which prints as redacted in every way, the source that reads them from files,
// and the guard that finds one in an answer.
//
// Policy names secrets; which file a name means, and to which apps and hosts it
// may go, is the sidecar's own configuration, so that nobody who can change
// policy can send a secret elsewhere.
//
// It does not know where in a request a secret stands (app.Credentialed) and
// opens no connection.
package credential
