package proof

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Signature is a person's signature of an Offer's digest. Exactly one is set; the
// zero value is none.
type Signature struct {
	SSH     string     `json:"ssh,omitempty"` // armoured, in NamespaceApproval
	Passkey *Assertion `json:"passkey,omitempty"`
}

// maxSignature is the longest signature that is read, in bytes.
const maxSignature = 16 << 10

// IsZero reports whether s is none.
func (s Signature) IsZero() bool { return s.SSH == "" && s.Passkey == nil }

// Encode writes s as it is kept; none is nothing.
func (s Signature) Encode() ([]byte, error) {
	if s.IsZero() {
		return nil, nil
	}
	return json.Marshal(s)
}

// ParseSignature reads what Encode wrote.
func ParseSignature(b []byte) (Signature, error) {
	var s Signature
	if len(b) == 0 {
		return s, nil
	}
	if len(b) > maxSignature || json.Unmarshal(b, &s) != nil || (s.SSH == "") == (s.Passkey == nil) {
		return Signature{}, errors.New("a signature that is malformed")
	}
	return s, nil
}

// Message returns the bytes that an SSH key signs: the Offer's SHA-256 as 64
// hexadecimal digits, so that ssh-keygen can make the signature too.
func Message(offer [32]byte) []byte { return []byte(hex.EncodeToString(offer[:])) }

// CheckSignature reports, as nil, that one of keys signed the Offer with that
// SHA-256; a passkey at site.
func CheckSignature(s Signature, keys []Key, offer [32]byte, site Site) error {
	switch {
	case s.IsZero():
		return errors.New("it is not signed")
	case s.SSH != "" && s.Passkey != nil:
		return errors.New("two signatures in one")
	case s.SSH != "":
		key, err := SSHSigner(s.SSH, NamespaceApproval, Message(offer))
		if err != nil {
			return fmt.Errorf("the signature does not hold: %w", err)
		}
		for _, k := range keys {
			if k.SSH != nil && sameKey(k.SSH, key) {
				return nil
			}
		}
		return errors.New("it is signed by another's key")
	}
	err := errors.New("no passkey of this person is known")
	for _, k := range keys {
		if k.Passkey == nil {
			continue
		}
		if err = k.Passkey.check(*s.Passkey, offer, site); err == nil {
			return nil
		}
	}
	return err
}

// Approval is one person's approval.
type Approval struct {
	Person    string // a name under people:
	Step      int    // from 0
	Signature Signature
}

// checkApprovals reports, as nil, that every step has its number of different
// persons, none of them in own, who each signed the Offer.
func (p *Policy) checkApprovals(e entitlement, approvals []Approval, offer [32]byte, own map[string]bool) error {
	spoken := map[string]bool{}
	given := make([]int, len(e.steps))
	for _, a := range approvals {
		who, listed := p.people[a.Person]
		switch {
		case !listed:
			return fmt.Errorf("approved by %.64q, who is none of the persons under people", a.Person)
		case spoken[a.Person]:
			return fmt.Errorf("%s approves twice", a.Person)
		case own[a.Person]:
			return fmt.Errorf("%s approves their own access", a.Person)
		case a.Step < 0 || a.Step >= len(e.steps) || !contains(e.steps[a.Step].any, a.Person):
			return fmt.Errorf("%s is not among those who approve", a.Person)
		}
		if err := CheckSignature(a.Signature, who.keys, offer, p.trust.Site); err != nil {
			return fmt.Errorf("approval of %s: %w", a.Person, err)
		}
		spoken[a.Person] = true
		given[a.Step]++
	}
	for i, s := range e.steps {
		if given[i] < s.count {
			return fmt.Errorf("step %d has %d of %d approvals", i+1, given[i], s.count)
		}
	}
	return nil
}
