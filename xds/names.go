package xds

// Sockets in the run directory of a node. The sidecar listens on them before it
// starts Envoy.
const (
	SocketSidecar = "sidecar.sock" // ext_authz and access logs, gRPC
	SocketHop     = "hop.sock"     // the hop, HTTP/1.1
)

// Keys of node.metadata, which Envoy's bootstrap carries and Build needs.
const (
	MetaServicesAddress = "services_address" // IP:port of the services listener
	MetaPeopleAddress   = "people_address"   // IP:port of the people listener; not there: none
	MetaClientsAddress  = "clients_address"  // IP:port of the clients listener; not there: none
	MetaPeopleHosts     = "people_hosts"     // list of the hosts that the sidecar has certificates for, for people and clients
	MetaRunDir          = "run_dir"          // absolute folder of the sockets
	MetaVersion         = "version"          // of the sidecar, for display
)

// Secrets that the sidecar serves by SDS.
const (
	SecretListener      = "listener"       // Envoy's own certificate and key
	SecretClients       = "clients"        // trust bundles of callers
	SecretUpstreamRoots = "upstream_roots" // roots for direct apps over https
	SecretWebPrefix     = "web/"           // and a host: certificate and key that browsers and clients see there
)

// RouteMetadata is the namespace of the metadata that ext_authz is given with
// each request: {app: <name>, hop: <bool>, guard: <bool>, door: <one of the doors
// below>}; guard only where it is true.
const RouteMetadata = "mayfly"

// The doors of a node. Each is one listener with one route configuration, both of
// this name. What proves a caller at one door is nothing at the other, and only
// the route says at which door a request came in.
const (
	DoorServices = "services" // workloads: mutual TLS
	DoorPeople   = "people"   // browsers: a server certificate and a session's cookie
	DoorClients  = "clients"  // programs without a certificate: a server certificate and DPoP
)

func doors() []string { return []string{DoorServices, DoorPeople, DoorClients} }

// web reports whether a door shows each host its own certificate and asks callers
// for none.
func web(door string) bool { return door == DoorPeople || door == DoorClients }

// Log names of the two gRPC access logs.
const (
	LogAction     = "action" // one entry per HTTP request
	LogConnection = "conn"   // connections refused before HTTP
)

// Names inside the generated configuration.
const (
	clusterSidecar   = "sidecar"
	clusterGuard     = "guard" // the same socket: held streams take no room from decisions
	clusterHop       = "hop"
	clusterAppPrefix = "app/"
	clusterSDS       = "sidecar_sds" // static, in the bootstrap
	vhostUnknown     = "unknown"
)

// Names of Envoy's filters and extensions in use.
const (
	extExtAuthz      = "envoy.filters.http.ext_authz"
	extExtProc       = "envoy.filters.http.ext_proc"
	extLua           = "envoy.filters.http.lua"
	extRouter        = "envoy.filters.http.router"
	extHCM           = "envoy.filters.network.http_connection_manager"
	extTLSInspector  = "envoy.filters.listener.tls_inspector"
	extTLS           = "envoy.transport_sockets.tls"
	extHTTPGRPCLog   = "envoy.access_loggers.http_grpc"
	extTCPGRPCLog    = "envoy.access_loggers.tcp_grpc"
	extCEL           = "envoy.access_loggers.extension_filters.cel"
	extEarlyMutation = "envoy.http.early_header_mutation.header_mutation"
	extHTTPOptions   = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)
