package proxy

import (
	"net/http"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// ActionHeader carries the action id to direct apps and to the hop. The caller's
// own is removed before anything runs, the upstream's answer's on the way back.
const ActionHeader = "X-Mayfly-Action"

// Keys of the metadata that ext_authz attaches to a request; the access log
// brings them back.
const (
	MetaAction = "action" // the id; of a request that was let through
	metaDenial = "denial"
	metaReason = "reason"

	ownAnswer = "answered"
)

// allowed tells Envoy to forward. Only value is used: Envoy 1.40 writes a
// raw_value as an empty header, and an empty grpc-timeout would mean no deadline.
func allowed(a Action, to told, now time.Time, spent time.Duration) *authv3.CheckResponse {
	headers := []*corev3.HeaderValueOption{set(ActionHeader, a.ID.String())}
	ok := &authv3.OkHttpResponse{HeadersToRemove: to.remove}
	switch {
	case a.Guard:
		// The guard ends it, and knows better when: the stream may go on under another
		// grant, and Envoy's timer cannot be moved.
		headers = append(headers, set("grpc-timeout", deadlineText(a.Limit.Sub(now), spent)))
	case !a.Hop:
		headers = append(headers, set("grpc-timeout", deadlineText(a.Deadline.Sub(now), spent)))
	}
	ok.Headers = append(headers, to.set...)
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata(map[string]string{MetaAction: a.ID.String()}),
	}
}

// deadlineText is the time from the stream's start to the deadline, as Envoy
// counts it: what the decision took is added, and it is never 0, which some
// versions read as unlimited. spent is measured on the boot clock, from when the
// question came: Envoy tells when the stream began, but by the wall clock, and one
// that is moved would move the end (P3). What Envoy took before it asked makes
// the end that much earlier.
func deadlineText(left, spent time.Duration) string {
	return strconv.FormatInt(max((left+max(spent, 0)).Milliseconds(), 1), 10) + "m"
}

// refused tells Envoy to answer r itself.
func refused(r app.Response, d *grant.Denial, denialShown bool) *authv3.CheckResponse {
	meta := map[string]string{metaReason: string(d.Reason)}
	if denialShown {
		meta[metaDenial] = d.ID.String()
	}
	return reply(r, meta)
}

// answered tells Envoy to give an answer of our own that refuses nothing. It says a
// reason all the same: by that Envoy tells it from an app's, whose cookies of our
// name it takes out.
func answered(r app.Response) *authv3.CheckResponse {
	return reply(r, map[string]string{metaReason: ownAnswer})
}

// reply tells Envoy to answer with r. A second value of a header is appended: of
// several that overwrite, Envoy 1.40 keeps the last.
func reply(r app.Response, meta map[string]string) *authv3.CheckResponse {
	var headers []*corev3.HeaderValueOption
	for name, values := range r.Header {
		for i, v := range values {
			h := set(name, v)
			if i > 0 {
				h.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
			}
			headers = append(headers, h)
		}
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)}, Headers: headers, Body: string(r.Body),
		}},
		DynamicMetadata: metadata(meta),
	}
}

// grpcRefusal is a denial as a gRPC client understands it: trailers only.
func grpcRefusal(d *grant.Denial) app.Response {
	h := app.DenialHeader(d, "application/grpc")
	h.Set("Grpc-Status", strconv.FormatUint(uint64(d.Info().GRPC), 10))
	text := d.Error()
	if d.Entitlement != "" {
		text += ". The entitlement " + d.Entitlement + " would allow it"
	}
	if d.Next != "" {
		text += ". Next: " + d.Next
	}
	h.Set("Grpc-Message", percentEncode(text))
	return app.Response{Status: http.StatusOK, Header: h}
}

// percentEncode writes a grpc-message (gRPC over HTTP2, "Percent-Encoded").
func percentEncode(s string) string {
	const hexDigits = "0123456789ABCDEF"
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if b := s[i]; b >= 0x20 && b <= 0x7e && b != '%' {
			out = append(out, b)
		} else {
			out = append(out, '%', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return string(out)
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func metadata(values map[string]string) *structpb.Struct {
	fields := make(map[string]*structpb.Value, len(values))
	for k, v := range values {
		fields[k] = structpb.NewStringValue(v)
	}
	return &structpb.Struct{Fields: fields}
}
