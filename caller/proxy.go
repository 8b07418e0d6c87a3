package caller

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// reasonHeader is where a gateway names the reason of a refusal.
const reasonHeader = "Mayfly-Reason"

// proxy admits requests and passes them on as they came.
type proxy struct {
	admission
	refuse  func(*grant.Denial) app.Response
	log     *slog.Logger
	forward *httputil.ReverseProxy
}

func newProxy(c Config, hosts []string) *proxy {
	p := &proxy{admission: admission{form: c.Form, secret: c.Secret, hosts: hosts}, refuse: c.Refuse, log: c.Log}
	gateway := &url.URL{Scheme: "https", Host: c.Host}
	p.forward = &httputil.ReverseProxy{
		Transport:     c.Door,
		FlushInterval: -1, // events are passed on as they come
		ErrorLog:      slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(gateway)
			r.Out.Host = c.Host
			// As it came: the gateway decides on these bytes and refuses what could be
			// read in two ways.
			r.Out.URL.Path, r.Out.URL.RawPath, r.Out.URL.RawQuery = r.In.URL.Path, r.In.URL.RawPath, r.In.URL.RawQuery
			r.Out.URL.ForceQuery = r.In.URL.ForceQuery
			r.Out.Trailer = r.In.Trailer // one map: its values come when the body has been read
			if _, ok := r.In.Header["User-Agent"]; !ok {
				r.Out.Header["User-Agent"] = nil // else Go's own is sent
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if reason := r.Header.Get(reasonHeader); reason != "" {
				c.Told(grant.Reason(reason))
			}
			return nil
		},
		ErrorHandler: p.failed,
	}
	return p
}

// ServeHTTP passes r on, or says why not.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.admit(r, peerFrom(r.Context())); err != nil {
		d := grant.Of(err)
		p.log.InfoContext(r.Context(), "refused", "reason", d.Reason, "sentence", d.Sentence)
		w.Header().Set("Connection", "close")
		p.answer(w, d)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// failed answers a request that brought no answer from the gateway.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the program went away: nobody reads an answer
	}
	var d *grant.Denial
	if !errors.As(err, &d) {
		d = grant.Deny(grant.UpstreamUnavailable, "the gateway did not answer: %v", err)
		d.Next = "try again; if it lasts, check the gateway's address"
	}
	p.log.WarnContext(r.Context(), "no answer from the gateway", "error", err)
	p.answer(w, d)
}

func (p *proxy) answer(w http.ResponseWriter, d *grant.Denial) {
	out := p.refuse(d)
	for name, values := range out.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(out.Status)
	_, _ = w.Write(out.Body)
}
