// Package spiffe owns what proves a workload: sources of X.509-SVIDs and trust
// bundles (the Workload API, files, bundle endpoints), the checks that turn a peer's
// certificate, or a JWT-SVID, into an identity.Principal, and the TLS configurations of every
// door that asks for one.
//
// Each trust domain is verified against its own bundle, never against a pool of
// several. There is no session resumption, on either side: a resumed session
// skips the check of the certificate.
//
// It does not decide what a principal may do, and it issues nothing.
package spiffe
