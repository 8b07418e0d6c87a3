package hop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/credential"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// ActionHeader carries the action id from Check through Envoy to the hop.
const ActionHeader = proxy.ActionHeader

// Gate is what the hop asks of the sidecar's table; *proxy.Table is one.
type Gate interface {
	// LastLook runs act if the grant is in force and the lease fresh.
	LastLook(id grant.GrantID, action grant.ActionID, deadline time.Time, act func() error) error
	// LastLookAt is LastLook by all that an action was let through by.
	LastLookAt(a proxy.Action, act func() error) error
	// Verifies returns nil while a key of tokens is held; "" is no token's.
	Verifies(kid string) error
	// Look is the look alone.
	Look(id grant.GrantID, now time.Time) error
	// App returns an app's kind and its pinned upstream.
	App(name string) (*proxy.App, bool)
}

// Hold is a request under way, until its access ends; *proxy.Hold is one.
type Hold interface {
	// Wait returns why the access ended; nil: ctx ended first.
	Wait(ctx context.Context) *proxy.Cut
	// LetGo says that the request is over, or was cut.
	LetGo(cut bool)
}

// Config configures a Handler. All fields but Roots, SendActionID and Dev are
// required.
type Config struct {
	Gate         Gate
	Hold         func(proxy.Action) Hold // (*proxy.Table).Hold
	Actions      *proxy.Actions
	Kinds        map[string]app.Credentialed
	Secrets      credential.Source
	Journal      proxy.Journal
	Now          func() time.Time // t, the sidecar's time
	Log          *slog.Logger
	Roots        *x509.CertPool // of upstreams; nil: the system's
	SendActionID bool           // tests only: the upstream sees x-mayfly-action
	Dev          bool           // plain http to loopback upstreams
}

// Handler serves the hop's socket. It is safe for concurrent use.
type Handler struct {
	c Config

	mu         sync.Mutex
	transports map[string]*http.Transport // by upstream
}

// New checks c.
func New(c Config) (*Handler, error) {
	if c.Gate == nil || c.Hold == nil || c.Actions == nil || c.Kinds == nil || c.Secrets == nil || c.Journal == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("hop: a required field of Config is missing")
	}
	return &Handler{c: c, transports: map[string]*http.Transport{}}, nil
}

// try is one action on its way.
type try struct {
	action proxy.Action
	kind   app.Credentialed
	ticket *ticket
	secret credential.Secret
	called time.Time // when the app began to be called, by the clock of traces
}

// ServeHTTP takes the action that the request presents and carries it out.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := parseAction(r.Header.Get(ActionHeader))
	if err != nil || len(r.Header.Values(ActionHeader)) != 1 {
		write(w, app.Problem(grant.Deny(grant.Internal, "no such action waits to be taken")))
		return
	}
	action, err := h.c.Actions.Take(id, r.Method, r.Host, r.RequestURI, h.c.Now())
	if err != nil {
		h.c.Log.WarnContext(r.Context(), "hop refused a request", "action", id.String(), "reason", grant.ReasonOf(err))
		write(w, app.Problem(grant.Of(err)))
		return
	}
	h.carryOut(w, r, action)
}

func parseAction(s string) (id grant.ActionID, err error) {
	if s == "" {
		return id, errors.New("no action")
	}
	return id, id.UnmarshalText([]byte(s))
}

func (h *Handler) carryOut(w http.ResponseWriter, r *http.Request, action proxy.Action) {
	t := &try{action: action, ticket: &ticket{}}
	t.ticket.pass = func(send func() error) error {
		if action.Observed { // there is no grant to ask about
			return h.c.Gate.LastLookAt(action, send)
		}
		return h.c.Gate.LastLook(action.Grant, action.ID, time.Time{}, func() error {
			if err := h.c.Gate.Verifies(action.Key); err != nil {
				return err
			}
			return send()
		})
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := h.guard(ctx, cancel, w, action)
	defer stop()
	out, transport, err := h.prepare(r, t)
	if err != nil {
		h.refuse(ctx, w, t, err)
		return
	}
	t.called = action.Trace.Now()
	resp, err := transport.RoundTrip(out.WithContext(withTicket(ctx, t.ticket)))
	if err != nil {
		h.failed(ctx, w, t, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	// An answer that comes with a cut may be made by it.
	if sent, _ := t.ticket.spend(); !sent || context.Cause(ctx) != nil {
		h.failed(ctx, w, t, errUnasked)
		return
	}
	h.answer(ctx, w, t, resp)
}

// prepare builds the request as the upstream will see it: with the credential of the
// gateway, or, where nobody decided about it, as its caller made it.
func (h *Handler) prepare(r *http.Request, t *try) (*http.Request, *http.Transport, error) {
	front, ok := h.c.Gate.App(t.action.App)
	if !ok {
		return nil, nil, grant.Deny(grant.UnknownApp, "this gateway no longer fronts %s", t.action.App)
	}
	kind, ok := h.c.Kinds[front.Kind]
	if !ok {
		return nil, nil, grant.Deny(grant.UnknownApp, "this gateway does not know apps of kind %s", front.Kind)
	}
	t.kind = kind
	upstream := front.Upstream
	transport, err := h.transport(upstream)
	if err != nil {
		return nil, nil, grant.Deny(grant.UpstreamUnavailable, "the app's upstream is not usable").Because(err)
	}
	body, err := readBody(r, t.action)
	if err != nil {
		return nil, nil, err
	}
	target, err := url.ParseRequestURI(t.action.Path)
	if err != nil {
		return nil, nil, grant.Deny(grant.Malformed, "the path cannot be sent on").Because(err)
	}
	target.Scheme, target.Host = upstream.Scheme, upstream.Host
	out := &http.Request{Method: r.Method, URL: target, Host: upstream.Host, Header: forwarded(r.Header), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if len(body) > 0 {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	switch {
	case t.action.Observed: // the caller brings its own credential, or none
	case front.Observes(h.c.Now()):
		return nil, nil, grant.Deny(grant.PolicyChanged, "the app is in observe mode now, where no credential of the gateway's is used")
	default:
		if t.secret, err = h.c.Secrets.Secret(r.Context(), credential.Use{Name: t.action.Secret, App: t.action.App, Host: upstream.Host}); err != nil {
			return nil, nil, err
		}
		kind.Authorize(out, t.secret.Reveal())
	}
	if h.c.SendActionID {
		out.Header.Set(ActionHeader, t.action.ID.String())
	}
	return out, transport, nil
}

// readBody reads the body that was decided on, and no other.
func readBody(r *http.Request, a proxy.Action) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, app.MaxBody+1))
	if err != nil {
		return nil, grant.Deny(grant.Malformed, "the body ended early").Because(err)
	}
	if len(b) > 0 != a.HasBody || a.HasBody && sha256.Sum256(b) != a.Body {
		return nil, grant.Deny(grant.ConflictingHeaders, "the body is not the one that was decided on")
	}
	return b, nil
}

// transport returns the transport of one upstream, made on first use.
func (h *Handler) transport(u *url.URL) (*http.Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := u.Scheme + "://" + u.Host
	if t, ok := h.transports[key]; ok {
		return t, nil
	}
	t, err := newTransport(u, h.c.Roots, h.c.Dev)
	if err != nil {
		return nil, err
	}
	h.transports[key] = t
	return t, nil
}

// refuse answers an action of which no byte left. What cut it short comes before
// what that then made fail.
func (h *Handler) refuse(ctx context.Context, w http.ResponseWriter, t *try, err error) {
	d := grant.Of(err)
	if cut := cutShort(ctx); cut != nil {
		d = cut
	}
	h.outcome(t, audit.Outcome{Result: audit.ResultNotSent, Reason: string(d.Reason), EndedBy: endedBy(ctx)})
	if cause := errors.Unwrap(d); cause != nil {
		h.c.Log.Warn("hop could not carry out an action", "action", t.action.ID.String(), "reason", d.Reason, "error", cause)
	}
	h.say(ctx, w, t, d)
}

// failed answers an action whose round trip failed, before any answer's header.
func (h *Handler) failed(ctx context.Context, w http.ResponseWriter, t *try, err error) {
	sent, stopped := t.ticket.spend()
	if !sent {
		var d *grant.Denial
		if !errors.As(stopped, &d) {
			d = grant.Deny(grant.UpstreamUnavailable, "the app could not be reached").Because(err)
		}
		h.refuse(ctx, w, t, d)
		return
	}
	// The upstream has bytes of it and said nothing: what it did is not known.
	reason := grant.UpstreamUnavailable
	if cut := cutShort(ctx); cut != nil {
		reason = cut.Reason
	}
	h.outcome(t, audit.Outcome{Result: audit.ResultUnknown, Reason: string(reason), EndedBy: endedBy(ctx)})
	h.say(ctx, w, t, grant.Deny(reason, "the app was cut off before it answered: whether it acted is not known"))
}

// say answers in place of the app. After a cut the connection is of no more use.
func (h *Handler) say(ctx context.Context, w http.ResponseWriter, t *try, d *grant.Denial) {
	if context.Cause(ctx) != nil {
		w.Header().Set("Connection", "close")
	}
	if t.kind == nil {
		write(w, app.Problem(d))
		return
	}
	write(w, t.kind.Refuse(d))
}

// cutShort says why the action was cut short, nil if it was not.
func cutShort(ctx context.Context) *grant.Denial {
	cause := context.Cause(ctx)
	var cut *proxy.Cut
	switch {
	case cause == nil:
		return nil
	case errors.As(cause, &cut):
		return cut.Denial
	default:
		return grant.Deny(grant.Timeout, "the caller did not wait for the answer")
	}
}

func endedBy(ctx context.Context) string {
	cause := context.Cause(ctx)
	var cut *proxy.Cut
	switch {
	case cause == nil:
		return ""
	case errors.As(cause, &cut):
		return cut.By
	default:
		return proxy.EndedByCaller
	}
}

func (h *Handler) outcome(t *try, o audit.Outcome) {
	if !h.c.Actions.Close(t.action.ID) {
		return
	}
	if err := t.action.Conclude(h.c.Journal, o, t.called); err != nil {
		h.c.Log.Error("outcome not written", "action", t.action.ID.String(), "error", err)
	}
}

func write(w http.ResponseWriter, a app.Response) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}

var _ http.Handler = (*Handler)(nil)
