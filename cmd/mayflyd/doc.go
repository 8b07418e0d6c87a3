// Command mayflyd is the control plane: policy, requests, approvals, grants, the
// record, and what gateways are told. It holds no upstream credential. It owns
// its wiring, its configuration and mayflyd init; what it does is in access,
// server, feed and xds.
package main
