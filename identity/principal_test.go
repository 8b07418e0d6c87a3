package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestParsePrincipal(t *testing.T) {
	for _, c := range []struct {
		name, in string
		kind     Kind // KindNone: refused
	}{
		{"account", "user:idp:3f1c", KindUser},
		{"account whose subject has colons", "user:idp:auth0|a:b", KindUser},
		{"workload", "spiffe://acme.example/ns/pay/sa/refunder", KindWorkload},
		{"nothing", "", KindNone},
		{"e-mail address", "alice@acme.example", KindNone},
		{"no subject", "user:idp:", KindNone},
		{"no provider", "user::3f1c", KindNone},
		{"provider in capitals", "user:IDP:3f1c", KindNone},
		{"space in subject", "user:idp:a b", KindNone},
		{"control character in subject", "user:idp:a\x00b", KindNone},
		{"look-alike letter in subject", "user:idp:аlice", KindNone},
		{"long subject", "user:idp:" + strings.Repeat("a", 256), KindNone},
		{"trust domain alone", "spiffe://acme.example", KindNone},
		{"trailing slash", "spiffe://acme.example/", KindNone},
		{"dot segment", "spiffe://acme.example/a/../b", KindNone},
		{"percent", "spiffe://acme.example/a%2fb", KindNone},
		{"upper-case trust domain", "spiffe://ACME.example/a", KindNone},
		{"query", "spiffe://acme.example/a?b", KindNone},
		{"upper-case scheme", "SPIFFE://acme.example/a", KindNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePrincipal(c.in)
			if p.Kind() != c.kind {
				t.Fatalf("ParsePrincipal(%q) = %v (%v), want kind %v", c.in, p, err, c.kind)
			}
			if c.kind == KindNone {
				if !errors.Is(err, ErrPrincipal) || !p.IsZero() {
					t.Fatalf("want an ErrPrincipal and nobody, got %v, %v", p, err)
				}
				return
			}
			if p.String() != c.in {
				t.Errorf("text changed: %q became %q", c.in, p)
			}
		})
	}
}

func TestPersonOfAnUnlistedAccountIsNotANamedPerson(t *testing.T) {
	p, err := ParsePrincipal("user:idp:alice")
	if err != nil {
		t.Fatal(err)
	}
	named, err := NamedPerson("alice")
	if err != nil {
		t.Fatal(err)
	}
	if PersonOf(p) == named {
		t.Fatal("an account whose subject is alice counts as the listed person alice")
	}
	back, err := ParsePerson(PersonOf(p).String())
	if err != nil || back != PersonOf(p) {
		t.Fatalf("ParsePerson(%q) = %v, %v", PersonOf(p), back, err)
	}
	if _, err := NamedPerson("user:idp:alice"); err == nil {
		t.Fatal("a listed person may not be written like an account")
	}
}

func TestParseGroup(t *testing.T) {
	for in, ok := range map[string]bool{
		"group:idp/support": true, "group:idp//nested/eng": true,
		"group:idp": false, "idp/support": false, "group:/x": false, "group:idp/": false, "group:IDP/x": false, "group:idp/a b": false,
	} {
		g, err := ParseGroup(in)
		if (err == nil) != ok || g.IsZero() == ok {
			t.Errorf("ParseGroup(%q) = %v, %v; want ok %v", in, g, err, ok)
		}
	}
}
