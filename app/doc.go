// Package app owns the seam through which Mayfly learns one sort of protected
// app: a Kind names the Operation of a request, says what it must see for that,
// and speaks the provider's own error shape. The kinds are in the folders below;
// secrets are in app/credential.
//
// It decides nothing: what a caller may do is grant's, and asking for the
// decision is proxy's.
package app
