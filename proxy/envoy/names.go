package envoy

// Sockets in the run directory. The sidecar listens on the first three, each with
// Listen, before it starts Envoy; Envoy makes the last.
const (
	SocketSidecar = "sidecar.sock" // ext_authz and access logs, gRPC
	SocketHop     = "hop.sock"     // the hop, HTTP/1.1
	SocketSDS     = "sds.sock"     // secrets, gRPC
	SocketAdmin   = "admin.sock"   // Envoy's admin: /ready, /stats, /server_info
)

// Keys of node.metadata, read by mayflyd.
const (
	MetaServicesAddress = "services_address"
	MetaPeopleAddress   = "people_address"
	MetaClientsAddress  = "clients_address"
	MetaPeopleHosts     = "people_hosts"
	MetaRunDir          = "run_dir"
	MetaVersion         = "version"
)

// Secrets that SDS serves.
const (
	SecretListener      = "listener"       // certificate and key of the listener identity
	SecretControl       = "control"        // trust bundle of mayflyd's trust domain
	SecretClients       = "clients"        // trust bundles of callers
	SecretUpstreamRoots = "upstream_roots" // roots for direct apps over https
	SecretWebPrefix     = "web/"           // and a host: certificate and key that browsers see there
)

const (
	clusterControl = "mayflyd"
	clusterSDS     = "sidecar_sds"
)
