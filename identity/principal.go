package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind is the sort of a Principal. The zero value is no principal at all.
type Kind uint8

// The kinds of principal. Their spellings are disjoint, so that a person can
// never be written like a workload.
const (
	KindNone     Kind = iota
	KindUser          // user:<idp>:<subject>
	KindWorkload      // spiffe://<trust domain>/<path>
)

// String returns the word that policy and records use for k.
func (k Kind) String() string {
	switch k {
	case KindUser:
		return "user"
	case KindWorkload:
		return "workload"
	default:
		return "none"
	}
}

const (
	userPrefix    = "user:"
	maxSubject    = 255 // OIDC Core §2: sub is at most 255 ASCII characters
	maxIDPName    = 32
	workloadStart = "spiffe://"
)

// ErrPrincipal is wrapped by every error about a principal that cannot be read.
var ErrPrincipal = errors.New("not a principal")

// Principal is one account (user:<idp>:<subject>) or one workload (a SPIFFE ID
// with a path). It is comparable; the zero value is nobody and matches nobody.
type Principal struct{ text string }

// ParsePrincipal reads the text form. Any spelling but the canonical one is an
// error that wraps ErrPrincipal.
func ParsePrincipal(s string) (Principal, error) {
	switch {
	case strings.HasPrefix(s, workloadStart):
		id, err := spiffeid.FromString(s)
		if err != nil {
			return Principal{}, fmt.Errorf("%w: %q: %w", ErrPrincipal, s, err)
		}
		return Workload(id)
	case strings.HasPrefix(s, userPrefix):
		idp, subject, ok := strings.Cut(strings.TrimPrefix(s, userPrefix), ":")
		if !ok {
			return Principal{}, fmt.Errorf("%w: %q: want user:<idp>:<subject>", ErrPrincipal, s)
		}
		return User(idp, subject)
	default:
		return Principal{}, fmt.Errorf("%w: %q: want user:<idp>:<subject> or spiffe://…", ErrPrincipal, s)
	}
}

// User returns the account that the provider named idp in the configuration
// calls subject. The subject is the provider's own (OIDC Core §2, sub), never an
// e-mail address.
func User(idp, subject string) (Principal, error) {
	if !validName(idp, maxIDPName) {
		return Principal{}, fmt.Errorf("%w: identity provider name %q: want 1 to %d of a-z, 0-9 and -", ErrPrincipal, idp, maxIDPName)
	}
	if subject == "" || len(subject) > maxSubject || !printable(subject) {
		return Principal{}, fmt.Errorf("%w: subject %q: want 1 to %d printable characters without spaces", ErrPrincipal, subject, maxSubject)
	}
	return Principal{userPrefix + idp + ":" + subject}, nil
}

// Workload returns the principal of a SPIFFE ID. An ID without a path names a
// trust domain, not a workload, and is refused (X.509-SVID §5.2).
func Workload(id spiffeid.ID) (Principal, error) {
	if id.IsZero() || id.Path() == "" {
		return Principal{}, fmt.Errorf("%w: %q: a workload's SPIFFE ID has a path", ErrPrincipal, id.String())
	}
	return Principal{id.String()}, nil
}

// Kind says what sort of principal p is.
func (p Principal) Kind() Kind {
	switch {
	case strings.HasPrefix(p.text, userPrefix):
		return KindUser
	case strings.HasPrefix(p.text, workloadStart):
		return KindWorkload
	default:
		return KindNone
	}
}

// IsZero reports whether p is nobody.
func (p Principal) IsZero() bool { return p.text == "" }

// String returns the canonical text, "" for nobody.
func (p Principal) String() string { return p.text }

// TrustDomain returns the name of a workload's trust domain, "" of everybody else.
func (p Principal) TrustDomain() string {
	if p.Kind() != KindWorkload {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(p.text, "spiffe://"), "/")
	return name
}

// MarshalText writes the canonical text.
func (p Principal) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText reads what MarshalText wrote; empty text is nobody.
func (p *Principal) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*p = Principal{}
		return nil
	}
	v, err := ParsePrincipal(string(b))
	if err != nil {
		return err
	}
	*p = v
	return nil
}

func validName(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r <= 0x20 || r >= 0x7f {
			return false
		}
	}
	return true
}
