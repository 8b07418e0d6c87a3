package stripe

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// apiError is Stripe's error document.
type apiError struct {
	Error struct {
		Type    string `json:"type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// Refuse writes d as Stripe's error document, with mayfly_<reason> as its code
// and the denial's id as Request-Id, so that Stripe's clients show both. They try
// again only if d may pass later.
func (k *Kind) Refuse(d *grant.Denial) app.Response {
	info := d.Info()
	var doc apiError
	doc.Error.Type, doc.Error.Code, doc.Error.Message = info.Stripe, "mayfly_"+string(d.Reason), message(d)
	body, err := json.Marshal(doc)
	if err != nil { // strings always marshal
		body = nil
	}
	h := app.DenialHeader(d, "application/json")
	h.Set("Stripe-Should-Retry", strconv.FormatBool(info.Retryable))
	if !d.ID.IsZero() {
		h.Set("Request-Id", d.ID.String())
	}
	return app.Response{Status: info.HTTP, Header: h, Body: append(body, '\n')}
}

// message is one line: Stripe's clients show nothing else.
func message(d *grant.Denial) string {
	parts := []string{d.Sentence + "."}
	if d.Sentence == "" {
		parts[0] = d.Info().Title + "."
	}
	if d.Entitlement != "" {
		parts = append(parts, "The entitlement "+d.Entitlement+" would allow it.")
	}
	if d.Next != "" {
		parts = append(parts, "Next: "+d.Next)
	}
	if !d.ID.IsZero() {
		parts = append(parts, "("+d.ID.String()+")")
	}
	return strings.Join(parts, " ")
}

// Authorize replaces whatever the caller sent as a credential, in the header and
// in the user part of the URL, by the key as a bearer token.
func (k *Kind) Authorize(r *http.Request, secret []byte) {
	for _, name := range [...]string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key"} {
		r.Header.Del(name)
	}
	r.URL.User = nil
	r.Header.Set("Authorization", "Bearer "+string(secret))
}
