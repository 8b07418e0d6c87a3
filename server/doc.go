// Package server owns the HTTP handlers of mayflyd's doors for people and
// workloads: the JSON API, the logins of browsers and of the command line, the
// session cookie of the console, checkpoints and tiles. Public is the handler of
// the public door, where a session speaks; Workloads that of the door where a
// certificate does. Neither takes the other's proof.
//
// It decides nothing: who may do what is access's. It draws nothing: what a
// browser is shown is made by Pages. It owns no listener and no TLS.
package server
