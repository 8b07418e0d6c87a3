package spiffe

import (
	"errors"
	"fmt"
)

// Reason says, in one stable word, why a certificate does not prove a workload.
type Reason string

// The reasons. Edges map ReasonNone to no_identity and all others to
// bad_certificate; the word goes into the record.
const (
	ReasonNone            Reason = "no_certificate"
	ReasonMalformed       Reason = "malformed"
	ReasonNoURI           Reason = "no_uri_san"
	ReasonSeveralURIs     Reason = "several_uri_sans"
	ReasonNotSPIFFE       Reason = "not_a_spiffe_id"
	ReasonNoPath          Reason = "no_path"
	ReasonForeignDomain   Reason = "foreign_trust_domain"
	ReasonCA              Reason = "certificate_authority"
	ReasonKeyUsage        Reason = "key_usage"
	ReasonExtKeyUsage     Reason = "extended_key_usage"
	ReasonKey             Reason = "key"
	ReasonNotYetValid     Reason = "not_yet_valid"
	ReasonExpired         Reason = "expired"
	ReasonNoBundle        Reason = "no_bundle"
	ReasonUntrusted       Reason = "untrusted"
	ReasonNotThisWorkload Reason = "not_this_workload"
)

// Error says why a peer was refused. Its text names no secret and is fit for a
// log; the caller sees only the code that the edge maps Reason to.
type Error struct {
	Reason Reason
	ID     string // the SPIFFE ID that the certificate claims, "" when unread
	cause  error
}

// Error returns the reason in words.
func (e *Error) Error() string {
	who := "peer certificate"
	if e.ID != "" {
		who = fmt.Sprintf("peer certificate of %s", e.ID)
	}
	if e.cause == nil {
		return fmt.Sprintf("%s: %s", who, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %v", who, e.Reason, e.cause)
}

// Unwrap returns what was found.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the reason inside err, "" when err holds none.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func refuse(r Reason, id, format string, args ...any) *Error {
	return &Error{Reason: r, ID: id, cause: fmt.Errorf(format, args...)}
}
