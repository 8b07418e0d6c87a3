package hop

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/mayflyproxy/mayfly/app/credential"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

const copyBuffer = 32 << 10

// answer passes the upstream's answer on, unless it holds the credential, or may
// hold it in a form that cannot be looked through.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, t *try, resp *http.Response) {
	o := audit.Outcome{Result: audit.ResultSent, Status: resp.StatusCode, UpstreamID: upstreamID(resp.Header)}
	if err := presentable(resp, t.secret); err != nil {
		h.withhold(ctx, w, t, o, err)
		return
	}
	body := credential.GuardBody(resp.Body, t.secret, credential.EchoWindow)
	buf := make([]byte, copyBuffer)
	n, err := body.Read(buf)
	if errors.Is(err, credential.ErrEchoed) {
		h.withhold(ctx, w, t, o, err)
		return
	}
	maps.Copy(w.Header(), returned(resp.Header))
	w.WriteHeader(resp.StatusCode)
	o.Bytes, o.EndedBy = pass(ctx, w, body, resp.ContentLength, buf, n, err)
	if o.EndedBy == proxy.EndedByEcho {
		h.c.Log.ErrorContext(ctx, "the upstream's answer held the credential", "action", t.action.ID.String(), "app", t.action.App)
	}
	h.outcome(t, o)
	if o.EndedBy != "" {
		// The caller has an answer's beginning: only an aborted stream tells it that the end is missing.
		panic(http.ErrAbortHandler)
	}
}

// pass copies the answer's body, of which the first n bytes are in buf, chunk by
// chunk as it comes. length is what the upstream announced, below 0 if it did not.
// ended is empty if the answer came to its end.
func pass(ctx context.Context, w http.ResponseWriter, body io.Reader, length int64, buf []byte, n int, err error) (written int64, ended string) {
	control := http.NewResponseController(w)
	for {
		wrote, werr := w.Write(buf[:n])
		written += int64(wrote)
		if werr == nil && err == nil {
			werr = control.Flush()
		}
		switch {
		case werr != nil:
			return written, endedOr(ctx, proxy.EndedByCaller)
		case errors.Is(err, io.EOF):
			// Hanging up on an upstream can make it end its answer in good order: after a
			// cut nothing looks whole.
			by := endedBy(ctx)
			if by == proxy.EndedByCaller && written == length {
				by = "" // it left with all that was announced, before we saw that there is no more
			}
			return written, by
		case errors.Is(err, credential.ErrEchoed):
			return written, proxy.EndedByEcho
		case err != nil:
			return written, endedOr(ctx, proxy.EndedByUpstream)
		}
		n, err = body.Read(buf)
	}
}

func endedOr(ctx context.Context, otherwise string) string {
	if by := endedBy(ctx); by != "" {
		return by
	}
	return otherwise
}

var (
	errEncoded  = errors.New("the answer came encoded, though it was asked for plain")
	errSwitched = errors.New("the answer changes to another protocol")
)

// presentable reports, as nil, that an answer can be passed on under the guard
// of its body.
func presentable(resp *http.Response, secret credential.Secret) error {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(resp.Header.Values("Content-Encoding"), ",")))
	switch {
	case resp.StatusCode < http.StatusOK:
		return errSwitched
	case credential.EchoedInHeader(secret, resp.Header):
		return credential.ErrEchoed
	case encoding != "" && encoding != "identity" && !secret.IsZero(): // else there is nothing to look for
		return errEncoded
	}
	return nil
}

// withhold answers in place of an upstream whose answer may not be passed on.
func (h *Handler) withhold(ctx context.Context, w http.ResponseWriter, t *try, o audit.Outcome, why error) {
	d := grant.Deny(grant.UpstreamUnavailable, "the app acted, and its answer was withheld: %v", why)
	o.EndedBy = proxy.EndedByUpstream
	if errors.Is(why, credential.ErrEchoed) {
		o.EndedBy = proxy.EndedByEcho
		d = grant.Deny(grant.CredentialUnavailable, "the app acted, and its answer was withheld: it held the gateway's credential")
	}
	h.outcome(t, o)
	h.c.Log.ErrorContext(ctx, "an upstream's answer was withheld", "action", t.action.ID.String(), "app", t.action.App, "error", why)
	h.say(ctx, w, t, d)
}

// upstreamID is the provider's own name for the request, for the record.
func upstreamID(h http.Header) string {
	id := h.Get("Request-Id")
	if len(id) > 128 {
		return ""
	}
	return id
}

// dropped are the headers that no request or answer carries across the hop (RFC
// 9110 §7.6.1), and those that say who we or our caller are.
func dropped(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authorization", "Proxy-Authenticate", "Forwarded", "Via", "Expect", "Accept-Encoding":
		return true
	}
	for _, prefix := range []string{"X-Mayfly-", "X-Envoy-", "X-Forwarded-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// forwarded returns the caller's headers as the upstream may see them. The
// answer is asked for plain, so that it can be looked through for the credential.
func forwarded(in http.Header) http.Header {
	out := http.Header{}
	for name, values := range in {
		if !dropped(textproto.CanonicalMIMEHeaderKey(name)) {
			out[name] = append([]string(nil), values...)
		}
	}
	out.Set("Accept-Encoding", "identity")
	if out.Get("User-Agent") == "" {
		out.Set("User-Agent", "") // net/http would add its own
	}
	return out
}

// returned returns the upstream's headers as the caller may see them.
func returned(in http.Header) http.Header {
	out := http.Header{}
	for name, values := range in {
		if !dropped(name) && name != "Set-Cookie" {
			out[name] = append([]string(nil), values...)
		}
	}
	if out["Content-Type"] == nil {
		out["Content-Type"] = nil // net/http would guess one
	}
	return out
}
