package xds

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/grant"
)

// refusal says which of Envoy's own answers get which reason.
type refusal struct {
	when   string // CEL over the response; the first that holds decides
	reason grant.Reason
}

func refusals() []refusal {
	return []refusal{
		{"response.code == 413", grant.BodyTooLarge},
		{"response.code == 404", grant.UnknownApp},
		{"response.code in [408, 504]", grant.Timeout},
		{"response.code in [400, 403, 426, 431, 501]", grant.Malformed},
		{"response.code_details.startsWith('upstream_') || response.code_details == 'no_healthy_upstream'", grant.UpstreamUnavailable},
		{"response.code_details.startsWith('overload')", grant.Overloaded},
		{"response.code >= 400", grant.Internal},
	}
}

// localReplies gives each refusal that Envoy makes by itself a reason and an id
// (the request's, or the connection's where Envoy could not read a request). The
// sidecar's own denials come first and stay as they are: mappers would rewrite them.
func (b *builder) localReplies(a App) *hcmv3.LocalReplyConfig {
	out := &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		{Filter: b.cel(a.ownReplies())},
	}}
	for _, r := range refusals() {
		out.Mappers = append(out.Mappers, b.mapper(b.cel(r.when), bodyOf(a.Kind, r.reason)))
	}
	return out
}

// ownReplies says which answers are the sidecar's own.
func (a App) ownReplies() string {
	const denied = "response.code_details == 'ext_authz_denied'"
	if a.Guard {
		return denied + " || response.code_details.startsWith('mayfly_')"
	}
	return denied
}

type body struct {
	contentType string
	json        map[string]any
}

// bodyOf is the refusal in the words of whoever calls an app of this kind.
func bodyOf(kind string, r grant.Reason) body {
	info := r.Info()
	const request, connection = "%STREAM_ID%", "%CONNECTION_ID%"
	if kind == "stripe" {
		return body{"application/json", map[string]any{"error": map[string]any{
			"type": info.Stripe, "code": string(r), "message": info.Title + ".", "request_id": request, "connection": connection,
		}}}
	}
	return body{"application/problem+json", map[string]any{
		"title": info.Title, "status": "%RESPONSE_CODE%", "code": string(r), "request_id": request, "connection": connection,
		"retryable": info.Retryable,
	}}
}

func (b *builder) mapper(f *accesslogv3.AccessLogFilter, as body) *hcmv3.ResponseMapper {
	json, err := structpb.NewStruct(as.json)
	if err != nil && b.err == nil {
		b.err = err
	}
	return &hcmv3.ResponseMapper{Filter: f, BodyFormatOverride: &corev3.SubstitutionFormatString{
		ContentType: as.contentType,
		Format:      &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: json},
	}}
}
