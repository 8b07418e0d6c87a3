package trace

import (
	"net/http"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

// Facts are all that a span can say. No field takes what a person wrote, a name, an
// address, a path or a secret: ids of ours, names from policy and the catalogue,
// reason codes, numbers. An empty field is left out.
type Facts struct {
	Request string // req_…
	Offer   string // off_…
	Grant   string // grt_…
	Action  string // act_…
	Denial  string // den_…

	App         string
	Operation   string // of the app's catalogue
	Entitlement string
	Class       string
	Result      string // what came of it: a word of ours
	Reason      string // a reason code
	Observed    string // of a request that passed undecided: what would have been decided
	EndedBy     string // what cut an action short
	Pseudonym   string // p_…: anything else is left out
	Instance    string // of a gateway

	Epoch    int64 // of the feed
	Revision int64 // of the feed
	Acked    int64 // gateways that acknowledged
	Closed   int64 // gateways whose lease ran out instead

	Method string // of HTTP; one that RFC 9110 and 5789 do not name is _OTHER
	Status int    // of HTTP
	Server string // the app's host, as policy names it
}

// The attributes. Those without mayfly. are of OpenTelemetry's semantic
// conventions 1.44.
const (
	keyRequest     = "mayfly.request.id"
	keyOffer       = "mayfly.offer.id"
	keyGrant       = "mayfly.grant.id"
	keyAction      = "mayfly.action.id"
	keyDenial      = "mayfly.denial.id"
	keyApp         = "mayfly.app"
	keyOperation   = "mayfly.operation"
	keyEntitlement = "mayfly.entitlement"
	keyClass       = "mayfly.class"
	keyResult      = "mayfly.result"
	keyReason      = "mayfly.reason"
	keyObserved    = "mayfly.observed"
	keyEndedBy     = "mayfly.ended_by"
	keyInstance    = "mayfly.instance"
	keyEpoch       = "mayfly.feed.epoch"
	keyRevision    = "mayfly.feed.revision"
	keyAcked       = "mayfly.receipts.acked"
	keyClosed      = "mayfly.receipts.closed"
	keyPseudonym   = "enduser.pseudo.id"
	keyMethod      = "http.request.method"
	keyStatus      = "http.response.status_code"
	keyServer      = "server.address"
)

// The attributes of the resource: the process that the spans are of.
const (
	keyService = "service.name"
	keyVersion = "service.version"
	keyProcess = "service.instance.id"
)

// Keys lists every attribute of spans. docs/traces.md is held to it.
func Keys() []string {
	return []string{
		keyRequest, keyOffer, keyGrant, keyAction, keyDenial, keyApp, keyOperation, keyEntitlement, keyClass, keyResult, keyReason, keyObserved, keyEndedBy,
		keyInstance, keyEpoch, keyRevision, keyAcked, keyClosed, keyPseudonym, keyMethod, keyStatus, keyServer,
	}
}

// ResourceKeys lists every attribute of the process.
func ResourceKeys() []string { return []string{keyService, keyVersion, keyProcess} }

func (f Facts) attributes() []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	text := func(key, value string) {
		if value != "" {
			out = append(out, textValue(key, value))
		}
	}
	number := func(key string, value int64) {
		if value != 0 {
			out = append(out, &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}})
		}
	}
	text(keyRequest, f.Request)
	text(keyOffer, f.Offer)
	text(keyGrant, f.Grant)
	text(keyAction, f.Action)
	text(keyDenial, f.Denial)
	text(keyApp, f.App)
	text(keyOperation, f.Operation)
	text(keyEntitlement, f.Entitlement)
	text(keyClass, f.Class)
	text(keyResult, f.Result)
	text(keyReason, f.Reason)
	text(keyObserved, f.Observed)
	text(keyEndedBy, f.EndedBy)
	text(keyInstance, f.Instance)
	if strings.HasPrefix(f.Pseudonym, "p_") {
		text(keyPseudonym, f.Pseudonym)
	}
	number(keyEpoch, f.Epoch)
	number(keyRevision, f.Revision)
	number(keyAcked, f.Acked)
	number(keyClosed, f.Closed)
	text(keyMethod, method(f.Method))
	number(keyStatus, int64(f.Status))
	text(keyServer, f.Server)
	return out
}

func textValue(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "\ufffd")}}}
}

// method keeps a known method: a caller can send any token as one.
func method(s string) string {
	switch s {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return s
	}
	return "_OTHER"
}
