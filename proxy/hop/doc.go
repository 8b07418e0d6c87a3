// Package hop owns the last step of an action on an app with a credential: it
// takes the action that Check allowed, once, looks a last time just before the
// first byte leaves, sets the credential, talks to the pinned upstream over
// verified TLS, and knows the outcome.
//
// It decides nothing new and chooses no other grant. It follows no redirect,
// retries nothing, and never sends one action twice.
package hop
