// Command mayfly-sidecar stands beside one Envoy, which it starts: it decides
// every request from memory, writes intents and outcomes, holds the upstream
// credentials, and carries out actions on apps that need one. It owns its wiring
// and its configuration; what it does is in proxy and below.
package main
