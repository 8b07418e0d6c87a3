package xds

import (
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// guardAnswers is how long the guard may take to look a last time before a request is
// passed on, and at an answer's trailers. It never holds a stream up otherwise.
const guardAnswers = 2 * time.Second

// extProc has the sidecar hold every stream that a route enables it for. It is told of
// the headers that come, before anything is sent to the app, and of an answer's
// trailers: because these could still come, Envoy keeps asking until the stream ends,
// and every other mode was seen to leave some kind of stream unguarded. No byte of a
// body goes through it. It fails closed: an error or a lost connection resets the stream.
func extProc() *extprocv3.ExternalProcessor {
	return &extprocv3.ExternalProcessor{
		GrpcService:    guardService(),
		MessageTimeout: durationpb.New(guardAnswers),
		StatusOnError:  &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		MetadataOptions: &extprocv3.MetadataOptions{ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{
			Untyped: []string{extExtAuthz},
		}},
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode: extprocv3.ProcessingMode_SEND, ResponseHeaderMode: extprocv3.ProcessingMode_SKIP,
			RequestTrailerMode: extprocv3.ProcessingMode_SKIP, ResponseTrailerMode: extprocv3.ProcessingMode_SEND,
		},
	}
}
