// Package caller lets in programs that speak no mTLS: a loopback reverse proxy, or
// one on a Unix socket, that carries a workload's SVID (or what else proves a
// caller: see Config.Door) to the gateway and decides nothing. It is behind
// mayfly exec and mayfly-sidecar caller.
//
// Whoever reaches a loopback port is not yet the service: other users of the
// machine do, and web pages, and servers that are tricked into fetching an address.
// So it takes only requests with the key of this run, of this process's own user,
// for exactly the host that it is at, and none that a browser sent for a page. The
// key never leaves the machine.
//
// The gateway decides. Which programs may run, and under which grant, is not known
// here.
package caller
