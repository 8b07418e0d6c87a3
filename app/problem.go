package app

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/mayflyproxy/mayfly/grant"
)

// problem is an RFC 9457 problem document with our extension members.
type problem struct {
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Status      int          `json:"status"`
	Detail      string       `json:"detail,omitempty"`
	Code        grant.Reason `json:"code"`
	Denial      string       `json:"denial,omitempty"`
	Entitlement string       `json:"entitlement,omitempty"`
	Next        string       `json:"next,omitempty"`
	Retryable   bool         `json:"retryable"`
}

// Problem writes d as application/problem+json (RFC 9457), the shape for every
// API that has none of its own.
func Problem(d *grant.Denial) Response {
	info := d.Info()
	body, err := json.Marshal(problem{
		Type: "urn:mayfly:reason:" + string(d.Reason), Title: info.Title, Status: info.HTTP, Detail: d.Sentence,
		Code: d.Reason, Denial: d.ID.String(), Entitlement: d.Entitlement, Next: d.Next, Retryable: info.Retryable,
	})
	if err != nil { // strings and a bool always marshal
		body = nil
	}
	return Response{Status: info.HTTP, Header: DenialHeader(d, "application/problem+json"), Body: append(body, '\n')}
}

// DenialHeader returns the headers that every refusal of ours carries, in any shape.
func DenialHeader(d *grant.Denial, contentType string) http.Header {
	h := http.Header{}
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Mayfly-Reason", string(d.Reason))
	if !d.ID.IsZero() {
		h.Set("Mayfly-Denial", d.ID.String())
	}
	if d.Info().Retryable {
		h.Set("Retry-After", strconv.Itoa(1))
	}
	return h
}
