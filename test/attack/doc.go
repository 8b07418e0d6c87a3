// Package attack is what somebody who means harm tries at the doors for people, the
// gateway's and mayflyd's public one, and at the loopback ports that programs get
// through. At the doors it runs against the whole product, from its binaries, with a
// real Envoy and a real Chromium; at the loopback ports against package caller, with
// another user of the machine and a real Chromium. Each test says what is tried and
// what the attacker would see, and holds what got through against what was allowed to.
// Folder mutants takes each defence away in turn.
package attack
