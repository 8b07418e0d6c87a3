package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// AccessLog takes Envoy's gRPC access log: the outcomes of direct apps, and what
// Envoy refused by itself. Entries get lost while nobody receives them; Sweep
// closes what is then still open. It is safe for concurrent use.
type AccessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	actions *Actions
	journal Journal
	now     func() time.Time
	log     *slog.Logger
}

// NewAccessLog returns an AccessLog that closes actions and writes to journal.
// now is t; a nil log discards.
func NewAccessLog(actions *Actions, journal Journal, now func() time.Time, log *slog.Logger) *AccessLog {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &AccessLog{actions: actions, journal: journal, now: now, log: log}
}

const (
	// AuthzNamespace is where ext_authz attaches its metadata to a request.
	AuthzNamespace = "envoy.filters.http.ext_authz"
	// GuardDetails is how Envoy's details of a stream begin that the guard cut.
	GuardDetails  = "mayfly_"
	detailsDenied = "ext_authz_denied"
)

// StreamAccessLogs implements envoy.service.accesslog.v3.AccessLogService.
func (a *AccessLog) StreamAccessLogs(s accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			a.http(s.Context(), e)
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			a.connection(s.Context(), e)
		}
	}
}

// http closes the action of one finished request, or counts Envoy's own refusal.
func (a *AccessLog) http(ctx context.Context, e *accesslogdata.HTTPAccessLogEntry) {
	if t := e.GetCommonProperties().GetAccessLogType(); t != accesslogdata.AccessLogType_NotSet && t != accesslogdata.AccessLogType_DownstreamEnd {
		return
	}
	fields := e.GetCommonProperties().GetMetadata().GetFilterMetadata()[AuthzNamespace].GetFields()
	if text := fields[MetaAction].GetStringValue(); text != "" {
		a.outcome(ctx, text, e)
		return
	}
	if fields[metaReason].GetStringValue() != "" || e.GetResponse().GetResponseCodeDetails() == detailsDenied {
		return // ours: Check has written it
	}
	a.journal.Count(envoyReason(e))
}

func (a *AccessLog) outcome(ctx context.Context, text string, e *accesslogdata.HTTPAccessLogEntry) {
	var id grant.ActionID
	if err := id.UnmarshalText([]byte(text)); err != nil {
		a.log.ErrorContext(ctx, "access log entry with a malformed action", "error", err)
		return
	}
	action, cut, open := a.actions.closeUntaken(id)
	if !open {
		return // the hop has it, and writes its outcome
	}
	if err := action.Conclude(a.journal, outcomeOf(action, cut, e), time.Time{}); err != nil {
		a.log.ErrorContext(ctx, "outcome not written", "action", text, "error", err)
	}
}

// outcomeOf reads what became of an action that the hop did not take, and that the
// guard cut or did not.
func outcomeOf(action Action, cut *Cut, e *accesslogdata.HTTPAccessLogEntry) audit.Outcome {
	resp, details := e.GetResponse(), e.GetResponse().GetResponseCodeDetails()
	o := audit.Outcome{Result: resultOf(action, e), Bytes: int64(resp.GetResponseBodyBytes())}
	if o.Result == audit.ResultSent {
		o.Status = int(resp.GetResponseCode().GetValue())
	} else {
		o.Reason = string(envoyReason(e))
	}
	flags := e.GetCommonProperties().GetResponseFlags()
	switch {
	case cut != nil && strings.HasPrefix(details, GuardDetails):
		o.EndedBy, o.Reason = cut.By, string(cut.Reason)
	case flags.GetDownstreamConnectionTermination(), flags.GetDownstreamRemoteReset(), strings.Contains(details, "downstream_remote_disconnect"):
		o.EndedBy = EndedByCaller
		if o.Reason != "" {
			o.Reason = string(grant.Timeout)
		}
	case strings.Contains(details, "max_duration_timeout"):
		o.EndedBy = "deadline"
	case strings.HasPrefix(details, "upstream"):
		o.EndedBy = EndedByUpstream
	}
	return o
}

// resultOf reports whether the app got the request: it answered, or no byte left,
// or nobody knows. Envoy names the upstream as soon as it has chosen one, so only
// the times of the first bytes tell.
func resultOf(action Action, e *accesslogdata.HTTPAccessLogEntry) audit.Result {
	p := e.GetCommonProperties()
	switch {
	case action.Hop:
		return audit.ResultNotSent
	case p.GetTimeToFirstUpstreamRxByte() != nil:
		return audit.ResultSent
	case p.GetTimeToFirstUpstreamTxByte() != nil, e.GetRequest().GetUpstreamHeaderBytesSent() > 0:
		return audit.ResultUnknown
	case p.GetUpstreamRemoteAddress() == nil, p.GetResponseFlags().GetUpstreamConnectionFailure():
		return audit.ResultNotSent
	default:
		return audit.ResultUnknown
	}
}

// envoyReason names Envoy's own refusal with a reason of ours.
func envoyReason(e *accesslogdata.HTTPAccessLogEntry) grant.Reason {
	details, status := e.GetResponse().GetResponseCodeDetails(), e.GetResponse().GetResponseCode().GetValue()
	switch {
	case strings.HasPrefix(details, "ext_authz"):
		return grant.Internal
	case strings.Contains(details, "duration_timeout"), status == 408, status == 504:
		return grant.Timeout
	case strings.HasPrefix(details, "upstream"), status == 502:
		return grant.UpstreamUnavailable
	case status == 404:
		return grant.UnknownApp
	case status == 413:
		return grant.BodyTooLarge
	case strings.Contains(details, "overload"):
		return grant.Overloaded
	case status >= 400 && status < 500:
		return grant.Malformed
	default:
		return grant.Internal
	}
}

// connection counts a connection that ended before HTTP: no certificate, one that
// does not verify, an unknown server name.
func (a *AccessLog) connection(ctx context.Context, e *accesslogdata.TCPAccessLogEntry) {
	p := e.GetCommonProperties()
	failure := p.GetDownstreamTransportFailureReason()
	a.log.DebugContext(ctx, "connection refused", "failure", failure, "sni", p.GetTlsProperties().GetTlsSniHostname())
	switch {
	case strings.Contains(failure, "PEER_DID_NOT_RETURN_A_CERTIFICATE"):
		a.journal.Count(grant.NoIdentity)
	case failure != "":
		a.journal.Count(grant.BadCertificate)
	default:
		a.journal.Count(grant.UnknownApp)
	}
}

// Sweep closes the actions whose outcome is no longer awaited. Call it every few seconds.
func (a *AccessLog) Sweep(ctx context.Context) {
	unknown, never := a.actions.Overdue(a.now())
	write := func(actions []Action, r audit.Result, reason grant.Reason) {
		for _, action := range actions {
			if err := action.Conclude(a.journal, audit.Outcome{Result: r, Reason: string(reason)}, time.Time{}); err != nil {
				a.log.ErrorContext(ctx, "outcome not written", "action", action.ID.String(), "error", err)
			}
		}
	}
	write(unknown, audit.ResultUnknown, grant.Timeout)
	write(never, audit.ResultNotSent, grant.Timeout)
}
