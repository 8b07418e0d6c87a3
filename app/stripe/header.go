package stripe

import (
	"net/http"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// checkHeaders refuses headers that change what the request means.
func checkHeaders(h http.Header) error {
	if err := app.CheckOverrides(h); err != nil {
		return err
	}
	if _, ok := h["Content-Encoding"]; ok {
		return malformed("the body has a content encoding, so it cannot be read as the API reads it")
	}
	if err := checkOwn(h); err != nil {
		return err
	}
	version, err := app.OneValue(h, "Stripe-Version")
	if err != nil {
		return err
	}
	if version != "" && !isVersion(version) {
		return malformed("the Stripe-Version %.32q is no released version", version)
	}
	key, err := app.OneValue(h, "Idempotency-Key")
	if err != nil {
		return err
	}
	if len(key) > 255 { // Stripe's own limit
		return malformed("the Idempotency-Key is longer than 255 characters")
	}
	return nil
}

// checkOwn refuses headers of Stripe's that reach another account or that are
// not known. Of several, the first in order of spelling is named.
func checkOwn(h http.Header) error {
	var found string
	for name := range h {
		if !strings.HasPrefix(name, "Stripe-") && !strings.HasPrefix(name, "X-Stripe-") {
			continue
		}
		switch name {
		case "Stripe-Version", "X-Stripe-Client-User-Agent", "X-Stripe-Client-Telemetry":
		default:
			if found == "" || name < found {
				found = name
			}
		}
	}
	switch found {
	case "":
		return nil
	case "Stripe-Account", "Stripe-Context":
		return grant.Deny(grant.UnknownOperation, "the header %s acts on another account, which no entitlement covers", found)
	default:
		return grant.Deny(grant.UnknownOperation, "the header %.64q is not known here", found)
	}
}

// isVersion reports whether s is a date, with the name of a release if any: a
// preview may give known fields another meaning.
func isVersion(s string) bool {
	date, release, named := strings.Cut(s, ".")
	if len(date) != len("2026-08-26") || date[4] != '-' || date[7] != '-' || strings.Trim(date, "0123456789-") != "" {
		return false
	}
	return !named || release != "" && release != "preview" && strings.Trim(release, "abcdefghijklmnopqrstuvwxyz") == ""
}
