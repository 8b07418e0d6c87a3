package proof

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Key is one of a person's keys. Exactly one is set.
type Key struct {
	SSH     ssh.PublicKey
	Passkey *PasskeyKey
}

// person is what policy says of one human under people:.
type person struct {
	accounts []identity.Principal
	keys     []Key
}

// people are the persons of mayfly.yaml by name. Other keys of that file are not
// read: they say nothing about who approves.
func readPeople(file []byte) (map[string]person, error) {
	top, err := readFile(file)
	if err != nil {
		return nil, err
	}
	all, err := top.need("people", list)
	if err != nil {
		return nil, err
	}
	out, owner, holder := map[string]person{}, map[identity.Principal]string{}, map[string]string{}
	for _, one := range all.list {
		name, p, err := readPerson(one)
		if err != nil {
			return nil, fmt.Errorf("people: %w", err)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("people: %s is there twice", name)
		}
		for _, a := range p.accounts {
			if other, taken := owner[a]; taken {
				return nil, fmt.Errorf("people: an account of %s and %s", other, name)
			}
			owner[a] = name
		}
		for _, k := range p.keys { // one key of two persons is one person who approves twice
			key, err := k.name()
			if err != nil {
				return nil, fmt.Errorf("people: keys of %s: %w", name, err)
			}
			if other, taken := holder[key]; taken {
				return nil, fmt.Errorf("people: a key of %s and %s", other, name)
			}
			holder[key] = name
		}
		out[name] = p
	}
	return out, nil
}

func readPerson(v value) (string, person, error) {
	var p person
	if err := v.only("person", "accounts", "keys"); err != nil {
		return "", p, err
	}
	name, err := v.word("person")
	if err != nil {
		return "", p, err
	}
	if _, err := identity.NamedPerson(name); err != nil {
		return "", p, err
	}
	accounts, err := v.need("accounts", list)
	if err != nil {
		return "", p, err
	}
	texts, err := accounts.words()
	if err != nil {
		return "", p, err
	}
	for _, t := range texts {
		a, err := identity.ParsePrincipal(t)
		if err != nil || a.Kind() != identity.KindUser {
			return "", p, fmt.Errorf("accounts of %s: %q is none", name, t)
		}
		p.accounts = append(p.accounts, a)
	}
	keysOf, err := v.opt("keys", list)
	if err != nil {
		return "", p, err
	}
	for _, k := range keysOf.list {
		key, err := readKey(k)
		if err != nil {
			return "", p, fmt.Errorf("keys of %s: %w", name, err)
		}
		p.keys = append(p.keys, key)
	}
	return name, p, nil
}

func readKey(v value) (Key, error) {
	if v.kind != keys || len(v.keys) != 1 {
		return Key{}, errors.New("want ssh or passkey")
	}
	if s, err := v.word("ssh"); err == nil {
		return ParseKey("ssh", s)
	}
	s, err := v.word("passkey")
	if err != nil {
		return Key{}, errors.New("want ssh or passkey")
	}
	return ParseKey("passkey", s)
}

// ParseKey reads a key of a person as policy writes it: its sort, ssh or passkey,
// and its text.
func ParseKey(sort, text string) (Key, error) {
	switch sort {
	case "ssh":
		k, err := ParseSSHKey(text)
		if err != nil {
			return Key{}, err
		}
		if !slices.Contains([]string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}, k.Type()) {
			return Key{}, fmt.Errorf("SSH key of type %s, want ssh-ed25519, ecdsa-sha2-nistp256, -384, -521 or ssh-rsa", k.Type())
		}
		return Key{SSH: k}, nil
	case "passkey":
		k, err := ParsePasskey(text)
		if err != nil {
			return Key{}, err
		}
		return Key{Passkey: &k}, nil
	default:
		return Key{}, fmt.Errorf("a key of sort %q, want ssh or passkey", sort)
	}
}

// KeyName names a key of a person, by its sort and text: the same key has the same
// name however it is written. An error says what is wrong with it.
func KeyName(sort, text string) (string, error) {
	k, err := ParseKey(sort, text)
	if err != nil {
		return "", err
	}
	return k.name()
}

// name is of the public key alone: one passkey can be listed under many ids.
func (k Key) name() (string, error) {
	if k.SSH != nil {
		return ssh.FingerprintSHA256(k.SSH), nil
	}
	key, err := ssh.NewPublicKey(k.Passkey.key)
	if err != nil {
		return "", err
	}
	return ssh.FingerprintSHA256(key), nil
}

// step is one round of approvals.
type step struct {
	any   []string // names of persons
	count int
}

// allow is one line of allow:.
type allow struct {
	patterns []string
	where    []bound
}

// bound is a constraint whose values are literals or $parameters.
type bound struct {
	attribute string
	op        scope.Comparison
	values    []string
}

// entitlement is what a signed file says about one entitlement.
type entitlement struct {
	name, app   string
	max         time.Duration
	sensitivity scope.Class
	allow       []allow
	params      map[string]param
	steps       []step // empty: not approved by signatures
}

// readEntitlement reads one file below entitlements/. A key that is not known here
// could narrow what the others allow, and is an error.
func readEntitlement(file []byte) (entitlement, error) {
	var e entitlement
	v, err := readFile(file)
	if err != nil {
		return e, err
	}
	if e.name, err = v.word("entitlement"); err != nil {
		return e, err
	}
	if err := v.only("entitlement", "owner", "app", "allow", "params", "sensitivity", "grant", "request", "approve", "tests", "onward", "step_up", "environments"); err != nil {
		return e, err
	}
	if e.app, err = v.word("app"); err != nil {
		return e, err
	}
	if err := errors.Join(e.readGrant(v), e.readSensitivity(v), e.readAllow(v), e.readParams(v), e.readApprove(v)); err != nil {
		return e, fmt.Errorf("%s: %w", e.name, err)
	}
	return e, nil
}

func (e *entitlement) readGrant(v value) error {
	g, err := v.need("grant", keys)
	if err != nil {
		return err
	}
	s, err := g.word("max")
	if err != nil {
		return err
	}
	if err := g.only("max", "default", "idle_after"); err != nil {
		return err
	}
	if strings.Trim(s, "0123456789hms") != "" {
		return fmt.Errorf("grant.max: %q is no duration", s)
	}
	if e.max, err = time.ParseDuration(s); err != nil || e.max <= 0 {
		return fmt.Errorf("grant.max: %q is no duration", s)
	}
	return nil
}

func (e *entitlement) readSensitivity(v value) error {
	s, err := v.opt("sensitivity", text)
	if err != nil || s.kind == nothing {
		return err
	}
	e.sensitivity, err = scope.ParseClass(s.text)
	return err
}

func (e *entitlement) readAllow(v value) error {
	lines, err := v.need("allow", list)
	if err != nil {
		return err
	}
	for _, line := range lines.list {
		if err := line.only("operations", "where"); err != nil {
			return err
		}
		operations, err := line.need("operations", list)
		if err != nil {
			return err
		}
		var a allow
		if a.patterns, err = operations.words(); err != nil {
			return err
		}
		where, err := line.opt("where", keys)
		if err != nil {
			return err
		}
		for attribute, comparisons := range where.keys {
			for op, operand := range comparisons.keys {
				b := bound{attribute: attribute, op: scope.Comparison(op)}
				if operand.kind == text && b.op != scope.In {
					operand = value{kind: list, list: []value{operand}}
				} else if operand.kind != list || b.op != scope.In {
					return fmt.Errorf("where %s: want a value, and for in a list", attribute)
				}
				if b.values, err = operand.words(); err != nil || len(b.values) == 0 {
					return fmt.Errorf("where %s: want values", attribute)
				}
				a.where = append(a.where, b)
			}
			if comparisons.kind != keys || len(comparisons.keys) == 0 {
				return fmt.Errorf("where %s: want a comparison", attribute)
			}
		}
		e.allow = append(e.allow, a)
	}
	return nil
}

func (e *entitlement) readApprove(v value) error {
	a, err := v.need("approve", keys)
	if err != nil {
		return err
	}
	if err := a.only("auto", "steps", "signed"); err != nil {
		return err
	}
	signed, err := a.opt("signed", text)
	if err != nil || signed.text != "true" {
		return err // not approved by signatures: no steps
	}
	if _, auto := a.keys["auto"]; auto {
		return errors.New("approve: signed, and approved by rule")
	}
	steps, err := a.need("steps", list)
	if err != nil {
		return err
	}
	for _, one := range steps.list {
		s, err := readStep(one)
		if err != nil {
			return err
		}
		e.steps = append(e.steps, s)
	}
	return nil
}

func readStep(v value) (step, error) {
	s := step{count: 1}
	if err := v.only("any", "count", "within"); err != nil {
		return s, err
	}
	who, err := v.need("any", list)
	if err != nil {
		return s, err
	}
	if s.any, err = who.words(); err != nil {
		return s, err
	}
	if _, ok := v.keys["count"]; ok {
		text, err := v.word("count")
		if err != nil {
			return s, err
		}
		if s.count, err = strconv.Atoi(text); err != nil || s.count < 1 || strconv.Itoa(s.count) != text {
			return s, fmt.Errorf("count: %q is no number of persons", text)
		}
	}
	return s, nil
}
