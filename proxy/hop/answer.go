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
)

const copyBuffer = 32 << 10

// answer passes the upstream's answer on, unless it holds the credential.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, t *try, resp *http.Response) {
	o := audit.Outcome{Result: audit.ResultSent, Status: resp.StatusCode, UpstreamID: upstreamID(resp.Header)}
	if credential.EchoedInHeader(t.secret, resp.Header) {
		h.withhold(w, t, o)
		return
	}
	body := credential.GuardBody(resp.Body, t.secret, credential.EchoWindow)
	buf := make([]byte, copyBuffer)
	n, err := body.Read(buf)
	if errors.Is(err, credential.ErrEchoed) {
		h.withhold(w, t, o)
		return
	}
	maps.Copy(w.Header(), returned(resp.Header))
	w.WriteHeader(resp.StatusCode)
	for {
		wrote, werr := w.Write(buf[:n])
		o.Bytes += int64(wrote)
		if werr != nil {
			err = werr
		}
		if err != nil {
			break
		}
		if err = http.NewResponseController(w).Flush(); err != nil {
			break
		}
		n, err = body.Read(buf)
	}
	if errors.Is(err, io.EOF) {
		h.outcome(t, o)
		return
	}
	o.EndedBy = endedBy(ctx)
	if errors.Is(err, credential.ErrEchoed) {
		o.EndedBy = "echo"
		h.c.Log.ErrorContext(ctx, "the upstream's answer held the credential", "action", t.action.ID.String(), "app", t.action.App)
	}
	h.outcome(t, o)
	// The caller has an answer's beginning: only an aborted stream tells it that the end is missing.
	panic(http.ErrAbortHandler)
}

// withhold answers in place of an upstream that echoed the credential.
func (h *Handler) withhold(w http.ResponseWriter, t *try, o audit.Outcome) {
	o.EndedBy = "echo"
	h.outcome(t, o)
	h.c.Log.Error("the upstream's answer held the credential", "action", t.action.ID.String(), "app", t.action.App)
	write(w, t.kind.Refuse(grant.Deny(grant.CredentialUnavailable, "the app's answer was withheld: it held the gateway's credential")))
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
	return out
}
