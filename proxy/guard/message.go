package guard

import (
	"errors"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// ask is what Envoy says of the request that is to be held.
type ask struct {
	action                  grant.ActionID
	method, authority, path string
	grpc                    bool
}

// readAsk reads the first message: the action id is what Check attached to the
// request, and no caller's header.
func readAsk(m *extprocv3.ProcessingRequest) (ask, error) {
	h := m.GetRequestHeaders()
	if h == nil {
		return ask{}, errors.New("a stream begins with the headers of its request")
	}
	a := ask{
		method: header(h.GetHeaders(), ":method"), authority: header(h.GetHeaders(), ":authority"), path: header(h.GetHeaders(), ":path"),
		grpc: strings.HasPrefix(header(h.GetHeaders(), "content-type"), "application/grpc"),
	}
	text := m.GetMetadataContext().GetFilterMetadata()[proxy.AuthzNamespace].GetFields()[proxy.MetaAction].GetStringValue()
	if text == "" {
		return ask{}, errors.New("no action was decided for this request")
	}
	return a, a.action.UnmarshalText([]byte(text))
}

// goOn lets a request through as it is.
func goOn() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{Status: extprocv3.CommonResponse_CONTINUE},
	}}}
}

func goOnWithTrailers() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
}

// immediate answers in place of the app, or cuts its answer: once its headers are on
// their way, Envoy resets the stream.
func immediate(d *grant.Denial, grpc bool) *extprocv3.ProcessingResponse {
	r := app.Problem(d)
	out := &extprocv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)}, Body: r.Body,
		Headers: &extprocv3.HeaderMutation{}, Details: proxy.GuardDetails + string(d.Reason),
	}
	if grpc {
		out.Body, out.GrpcStatus = []byte(d.Error()), &extprocv3.GrpcStatus{Status: uint32(d.Info().GRPC)}
	} else {
		for name, values := range r.Header {
			for _, v := range values {
				out.Headers.SetHeaders = append(out.Headers.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, RawValue: []byte(v)}})
			}
		}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: out}}
}
