// Command mayfly-dev runs the services of a development installation: a SPIFFE
// CA with its Workload API, and an OpenID provider. It listens on loopback and
// Unix sockets only. Product binaries never link it.
package main
