package grant

import "slices"

// Reason is the stable code of a denial. Codes are never reused. The zero value
// stands for internal.
type Reason string

// The reasons of contracts §4, and those that came later.
const (
	NoIdentity            Reason = "no_identity"
	BadCertificate        Reason = "bad_certificate"
	BadToken              Reason = "bad_token"
	TokenNotBound         Reason = "token_not_bound"
	WrongAudience         Reason = "wrong_audience"
	SessionEnded          Reason = "session_ended"
	LoginAgain            Reason = "login_again"
	UnknownApp            Reason = "unknown_app"
	UnknownOperation      Reason = "unknown_operation"
	AmbiguousOperation    Reason = "ambiguous_operation"
	Malformed             Reason = "malformed"
	BodyTooLarge          Reason = "body_too_large"
	ConflictingHeaders    Reason = "conflicting_headers"
	NoGrant               Reason = "no_grant"
	NotYet                Reason = "not_yet"
	Ended                 Reason = "ended"
	Revoked               Reason = "revoked"
	OutOfScope            Reason = "scope"
	ConstraintUnmet       Reason = "constraint"
	Unresolved            Reason = "unresolved"
	Budget                Reason = "budget"
	Locked                Reason = "locked"
	Stale                 Reason = "stale"
	Clock                 Reason = "clock"
	RecordUnavailable     Reason = "record_unavailable"
	CredentialUnavailable Reason = "credential_unavailable"
	UnsupportedGrant      Reason = "unsupported_grant"
	GrantUnproven         Reason = "grant_unproven"
	PolicyChanged         Reason = "policy_changed"
	RateLimited           Reason = "rate_limited"
	Timeout               Reason = "timeout"
	UpstreamUnavailable   Reason = "upstream_unavailable"
	Overloaded            Reason = "overloaded"
	CrossSite             Reason = "cross_site"
	Idle                  Reason = "idle"
	Incomplete            Reason = "incomplete"
	Internal              Reason = "internal"
)

// Info is one row of the table of reasons: everything that an edge needs to
// show a reason in its own protocol.
type Info struct {
	Title     string // a few words, RFC 9457 title
	HTTP      int    // status
	GRPC      uint32 // google.rpc.Code
	Stripe    string // Stripe's error type
	Retryable bool   // the same request may pass later, unchanged
}

// gRPC codes used by the table (google.rpc.Code).
const (
	grpcInvalidArgument   = 3
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
	grpcDeadlineExceeded  = 4
)

func denied(title string) Info {
	return Info{Title: title, HTTP: 403, GRPC: grpcPermissionDenied, Stripe: "invalid_request_error"}
}

func unauthenticated(title string) Info {
	return Info{Title: title, HTTP: 401, GRPC: grpcUnauthenticated, Stripe: "invalid_request_error"}
}

func invalid(title string, status int) Info {
	return Info{Title: title, HTTP: status, GRPC: grpcInvalidArgument, Stripe: "invalid_request_error"}
}

func unavailable(title string) Info {
	return Info{Title: title, HTTP: 503, GRPC: grpcUnavailable, Stripe: "api_error", Retryable: true}
}

// table is built by a function, not kept in a variable: nobody can change it.
func table() map[Reason]Info {
	return map[Reason]Info{
		NoIdentity:            unauthenticated("The caller did not prove who it is"),
		BadCertificate:        unauthenticated("The caller's certificate was refused"),
		BadToken:              unauthenticated("The token was refused"),
		TokenNotBound:         unauthenticated("The token belongs to another caller"),
		WrongAudience:         unauthenticated("The token is for another resource"),
		SessionEnded:          unauthenticated("The session has ended"),
		LoginAgain:            unauthenticated("Log in again"),
		UnknownApp:            {Title: "No app answers to this host", HTTP: 404, GRPC: grpcPermissionDenied, Stripe: "invalid_request_error"},
		UnknownOperation:      denied("The app has no such operation"),
		AmbiguousOperation:    denied("The request could mean several operations"),
		Malformed:             invalid("The request cannot be read in one way only", 400),
		BodyTooLarge:          invalid("The body is too large to be decided on", 413),
		ConflictingHeaders:    invalid("The request's headers contradict each other", 400),
		NoGrant:               denied("No access has been granted"),
		NotYet:                denied("The access has not begun"),
		Ended:                 denied("The access has ended"),
		Revoked:               denied("The access was revoked"),
		OutOfScope:            denied("The granted access does not cover this operation"),
		ConstraintUnmet:       denied("The granted access does not reach this far"),
		Unresolved:            unavailable("A fact that the decision needs could not be looked up"),
		Budget:                denied("The granted budget is used up"),
		Locked:                denied("This principal is locked"),
		Stale:                 unavailable("The gateway has not heard from its control plane recently enough"),
		Clock:                 unavailable("The gateway's clock cannot be trusted"),
		RecordUnavailable:     unavailable("The record cannot be written"),
		CredentialUnavailable: unavailable("The gateway has no usable credential"),
		UnsupportedGrant:      denied("The gateway is too old for this grant"),
		GrantUnproven:         denied("The grant has no valid proof"),
		PolicyChanged:         denied("The policy no longer allows this access"),
		RateLimited:           {Title: "Too many requests", HTTP: 429, GRPC: grpcResourceExhausted, Stripe: "rate_limit_error", Retryable: true},
		Timeout:               {Title: "The decision or the app took too long", HTTP: 504, GRPC: grpcDeadlineExceeded, Stripe: "api_error", Retryable: true},
		UpstreamUnavailable:   {Title: "The app cannot be reached", HTTP: 502, GRPC: grpcUnavailable, Stripe: "api_error", Retryable: true},
		Overloaded:            unavailable("The gateway is overloaded"),
		CrossSite:             denied("The request came from another site"),
		Idle:                  denied("The access ended because it was not used"),
		Incomplete:            denied("The access ended because a part of its bundle was not in force"),
		Internal:              {Title: "Something went wrong in the gateway", HTTP: 500, GRPC: grpcInternal, Stripe: "api_error"},
	}
}

// Info returns the row of r. A code that is not in the table is internal.
func (r Reason) Info() Info {
	if i, ok := table()[r]; ok {
		return i
	}
	return table()[Internal]
}

// Known reports whether r is in the table.
func (r Reason) Known() bool {
	_, ok := table()[r]
	return ok
}

// Reasons returns every code, sorted.
func Reasons() []Reason {
	var out []Reason
	for r := range table() {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}
