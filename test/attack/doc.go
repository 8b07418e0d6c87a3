// Package attack is what somebody who means harm tries at the doors for people: the
// gateway's and mayflyd's public one. It runs against the whole product, from its
// binaries, with a real Envoy and a real Chromium. Each test says what is tried and
// what the attacker would see, and holds what reached the apps against what was
// allowed to. Folder mutants takes each defence away in turn.
package attack
