// Package server owns the HTTP handlers of mayflyd's doors for people and
// workloads: the JSON API, the login of the command line, checkpoints and tiles.
// Public is the handler of the public door, where a session speaks; Workloads
// that of the door where a certificate does. Neither takes the other's proof.
//
// It decides nothing: who may do what is access's. It owns no listener, no TLS
// and no cookie.
package server
