package xds

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// allowed lists, for each message that may occur in a snapshot, the fields that
// may be set. What is not here is refused: among much else failure_mode_allow,
// filter_enabled, shadow_mode, any per-route disabled of ext_authz, retry, hedge, mirror and
// redirect policies, cluster_header, weighted clusters,
// allow_connect, internal_address_config, default_filter_chain and inline routes.
// To allow a field, add it here with a rule in rules.go for the values that it may
// have. A test keeps the list free of fields that Build never sets.
func allowed() map[string]string {
	return map[string]string{
		"envoy.config.core.v3.AggregatedConfigSource":                                                     "",
		"envoy.config.accesslog.v3.AccessLog":                                                             "filter name typed_config",
		"envoy.config.accesslog.v3.AccessLogFilter":                                                       "extension_filter or_filter response_flag_filter",
		"envoy.config.accesslog.v3.ExtensionFilter":                                                       "name typed_config",
		"envoy.config.accesslog.v3.OrFilter":                                                              "filters",
		"envoy.config.accesslog.v3.ResponseFlagFilter":                                                    "flags",
		"envoy.config.cluster.v3.CircuitBreakers":                                                         "thresholds",
		"envoy.config.cluster.v3.CircuitBreakers.Thresholds":                                              "max_connections max_pending_requests max_requests",
		"envoy.config.cluster.v3.Cluster":                                                                 "circuit_breakers connect_timeout load_assignment name per_connection_buffer_limit_bytes transport_socket type typed_extension_protocol_options",
		"envoy.config.common.mutation_rules.v3.HeaderMutation":                                            "remove remove_on_match",
		"envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch":                              "key_matcher",
		"envoy.config.common.mutation_rules.v3.HeaderMutationRules":                                       "allow_expression disallow_all disallow_is_error",
		"envoy.config.core.v3.Address":                                                                    "pipe socket_address",
		"envoy.config.core.v3.ApiConfigSource":                                                            "api_type grpc_services transport_api_version",
		"envoy.config.core.v3.BackoffStrategy":                                                            "base_interval max_interval",
		"envoy.config.core.v3.ConfigSource":                                                               "ads api_config_source initial_fetch_timeout resource_api_version",
		"envoy.config.core.v3.DataSource":                                                                 "inline_string",
		"envoy.config.core.v3.GrpcService":                                                                "envoy_grpc timeout",
		"envoy.config.core.v3.GrpcService.EnvoyGrpc":                                                      "cluster_name retry_policy",
		"envoy.config.core.v3.Http2ProtocolOptions":                                                       "connection_keepalive initial_connection_window_size initial_stream_window_size max_concurrent_streams",
		"envoy.config.core.v3.HttpProtocolOptions":                                                        "headers_with_underscores_action max_headers_count",
		"envoy.config.core.v3.KeepaliveSettings":                                                          "interval timeout",
		"envoy.config.core.v3.Metadata":                                                                   "filter_metadata",
		"envoy.config.core.v3.Pipe":                                                                       "path",
		"envoy.config.core.v3.RetryPolicy":                                                                "retry_back_off",
		"envoy.config.core.v3.SocketAddress":                                                              "address port_value",
		"envoy.config.core.v3.SubstitutionFormatString":                                                   "content_type json_format",
		"envoy.config.core.v3.TransportSocket":                                                            "name typed_config",
		"envoy.config.core.v3.TypedExtensionConfig":                                                       "name typed_config",
		"envoy.config.endpoint.v3.ClusterLoadAssignment":                                                  "cluster_name endpoints",
		"envoy.config.endpoint.v3.Endpoint":                                                               "address",
		"envoy.config.endpoint.v3.LbEndpoint":                                                             "endpoint",
		"envoy.config.endpoint.v3.LocalityLbEndpoints":                                                    "lb_endpoints",
		"envoy.config.listener.v3.Filter":                                                                 "name typed_config",
		"envoy.config.listener.v3.FilterChain":                                                            "filter_chain_match filters name transport_socket transport_socket_connect_timeout",
		"envoy.config.listener.v3.FilterChainMatch":                                                       "server_names",
		"envoy.config.listener.v3.Listener":                                                               "access_log address enable_reuse_port filter_chains listener_filters listener_filters_timeout name per_connection_buffer_limit_bytes",
		"envoy.config.listener.v3.ListenerFilter":                                                         "name typed_config",
		"envoy.config.route.v3.DirectResponseAction":                                                      "status",
		"envoy.config.route.v3.HeaderMatcher":                                                             "name string_match",
		"envoy.config.route.v3.Route":                                                                     "direct_response match metadata name request_headers_to_remove route typed_per_filter_config",
		"envoy.config.route.v3.RouteAction":                                                               "cluster idle_timeout max_stream_duration",
		"envoy.config.route.v3.RouteAction.MaxStreamDuration":                                             "grpc_timeout_header_max max_stream_duration",
		"envoy.config.route.v3.RouteConfiguration":                                                        "ignore_port_in_host_matching name response_headers_to_remove virtual_hosts",
		"envoy.config.route.v3.RouteMatch":                                                                "headers prefix",
		"envoy.config.route.v3.VirtualHost":                                                               "domains name routes typed_per_filter_config",
		"envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter":                                 "expression",
		"envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig":                               "buffer_size_bytes custom_tags grpc_service log_name transport_api_version",
		"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig":                                 "common_config",
		"envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig":                                  "common_config",
		"envoy.extensions.filters.http.ext_authz.v3.BufferSettings":                                       "max_request_bytes pack_as_bytes",
		"envoy.extensions.filters.http.ext_authz.v3.CheckSettings":                                        "disable_request_body_buffering with_request_body",
		"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz":                                             "clear_route_cache clear_route_cache_headers decoder_header_mutation_rules encode_raw_headers grpc_service include_peer_certificate include_tls_session route_metadata_context_namespaces status_on_error transport_api_version validate_mutations with_request_body",
		"envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute":                                     "check_settings",
		"envoy.extensions.filters.http.ext_proc.v3.ExtProcOverrides":                                      "",
		"envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute":                                       "overrides",
		"envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor":                                     "grpc_service message_timeout metadata_options processing_mode status_on_error",
		"envoy.extensions.filters.http.ext_proc.v3.MetadataOptions":                                       "forwarding_namespaces",
		"envoy.extensions.filters.http.ext_proc.v3.MetadataOptions.MetadataNamespaces":                    "untyped",
		"envoy.extensions.filters.http.ext_proc.v3.ProcessingMode":                                        "request_header_mode request_trailer_mode response_header_mode response_trailer_mode",
		"envoy.extensions.filters.http.lua.v3.Lua":                                                        "default_source_code",
		"envoy.extensions.filters.http.router.v3.Router":                                                  "suppress_envoy_headers",
		"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":                                 "",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager":               "access_log always_set_request_id_in_response common_http_protocol_options delayed_close_timeout early_header_mutation_extensions http2_protocol_options http_filters local_reply_config merge_slashes normalize_path path_with_escaped_slashes_action rds request_headers_timeout stat_prefix upgrade_configs use_remote_address",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig": "upgrade_type",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter":                          "disabled name typed_config",
		"envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig":                    "mappers",
		"envoy.extensions.filters.network.http_connection_manager.v3.Rds":                                 "config_source route_config_name",
		"envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper":                      "body_format_override filter",
		"envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation":                   "mutations",
		"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext":                          "match_typed_subject_alt_names",
		"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext":                                      "alpn_protocols combined_validation_context tls_certificate_sds_secret_configs tls_params",
		"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext": "default_validation_context validation_context_sds_secret_config",
		"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext":                                  "common_tls_context disable_stateful_session_resumption disable_stateless_session_resumption require_client_certificate",
		"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":                                       "name sds_config",
		"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher":                                 "matcher san_type",
		"envoy.extensions.transport_sockets.tls.v3.TlsParameters":                                         "tls_maximum_protocol_version tls_minimum_protocol_version",
		"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":                                    "common_tls_context max_session_keys sni",
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":                                          "explicit_http_config",
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":                       "http2_protocol_options",
		"envoy.type.matcher.v3.RegexMatcher":                                                              "regex",
		"envoy.type.matcher.v3.StringMatcher":                                                             "exact prefix",
		"envoy.type.tracing.v3.CustomTag":                                                                 "tag value",
		"envoy.type.v3.HttpStatus":                                                                        "code",
	}
}

// fieldList is allowed() made quick to ask.
type fieldList map[protoreflect.FullName]map[protoreflect.Name]bool

func allowedFields() fieldList {
	out := fieldList{}
	for message, fields := range allowed() {
		set := map[protoreflect.Name]bool{}
		for f := range strings.FieldsSeq(fields) {
			set[protoreflect.Name(f)] = true
		}
		out[protoreflect.FullName(message)] = set
	}
	return out
}
