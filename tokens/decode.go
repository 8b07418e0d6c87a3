package tokens

import (
	"encoding"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// readClaims reads a payload strictly: every member is one of the profile, in its
// own spelling, once, and of its own type.
func readClaims(payload string) (*Claims, error) {
	n, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	if err := n.only("iss", "sub", "aud", "client_id", "jti", "iat", "exp", "cnf", "act", "authorization_details",
		"auth_time", "acr", "amr", "txn", claimGrant, claimGen); err != nil {
		return nil, err
	}
	c := &Claims{}
	for _, f := range [...]struct {
		name string
		read func(*node) error
	}{
		{"iss", func(m *node) (err error) { c.Issuer, err = m.text512(); return }},
		{"sub", func(m *node) (err error) { c.Subject, err = m.principal(); return }},
		{"aud", func(m *node) (err error) { c.Audience, err = m.one(); return }},
		{"client_id", func(m *node) (err error) { c.ClientID, err = m.text512(); return }},
		{"jti", func(m *node) error { return readID(m, &c.ID) }},
		{"iat", func(m *node) (err error) { c.IssuedAt, err = m.date(); return }},
		{"exp", func(m *node) (err error) { c.Expires, err = m.date(); return }},
		{"cnf", func(m *node) (err error) { c.Confirm, err = m.confirmation(); return }},
		{"authorization_details", func(m *node) (err error) { c.Details, err = m.details(); return }},
		{"txn", func(m *node) error { return readID(m, &c.Txn) }},
		{claimGrant, func(m *node) error { return readID(m, &c.Grant) }},
		{claimGen, func(m *node) (err error) { c.Gen, err = m.integer(); return }},
		{"act", optional(func(m *node) (err error) { c.Actor, err = m.actors(); return })},
		{"auth_time", optional(func(m *node) (err error) { c.AuthTime, err = m.date(); return })},
		{"acr", optional(func(m *node) (err error) { c.ACR, err = m.text512(); return })},
		{"amr", optional(func(m *node) (err error) { c.AMR, err = m.strings(); return })},
	} {
		if err := f.read(n.get(f.name)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return c, c.check()
}

func optional(read func(*node) error) func(*node) error {
	return func(n *node) error {
		if n == nil {
			return nil
		}
		return read(n)
	}
}

// readID reads an id in its one spelling.
func readID(n *node, id encoding.TextUnmarshaler) error {
	s, err := n.text512()
	if err != nil {
		return err
	}
	return id.UnmarshalText([]byte(s))
}

func (n *node) principal() (identity.Principal, error) {
	s, err := n.str()
	if err != nil {
		return identity.Principal{}, err
	}
	return identity.ParsePrincipal(s)
}

// actors reads act: nothing but sub and the next act stands in one (RFC 8693 §4.1).
func (n *node) actors() ([]identity.Principal, error) {
	var out []identity.Principal
	for ; n != nil; n = n.get("act") {
		if n.kind != kindObject || len(out) == MaxActors {
			return nil, fmt.Errorf("want objects, at most %d deep", MaxActors)
		}
		if err := n.only("sub", "act"); err != nil {
			return nil, err
		}
		p, err := n.get("sub").principal()
		if err != nil {
			return nil, fmt.Errorf("sub: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

// Skew is how far ahead of the reader's clock a token may have been issued.
const Skew = 5 * time.Second
