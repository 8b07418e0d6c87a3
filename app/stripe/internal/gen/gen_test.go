package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestTheCommittedCatalogueIsWhatTheDescriptionGives needs the module
// stripe-mock in the module cache, and never downloads it.
func TestTheCommittedCatalogueIsWhatTheDescriptionGives(t *testing.T) {
	text, err := fetch(append(os.Environ(), "GOPROXY=off"))
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("the description is needed: go mod download %s@%s (%v)", module, version, err)
		}
		t.Skipf("SKIP: no description: go mod download %s@%s (%v)", module, version, err)
	}
	committed, err := os.ReadFile("../../catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, err := compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, committed) {
			t.Fatal("catalogue.txt is not what the description gives: run go generate ./app/stripe")
		}
	}
}

func TestNames(t *testing.T) {
	got := parameter{In: "query", Name: "limit"}
	d := document{Paths: map[string]map[string]described{
		"/v1/charges":                       {"get": {OperationID: "a", Parameters: []parameter{got}}, "post": {OperationID: "b"}},
		"/v1/charges/{charge}":              {"get": {OperationID: "c"}, "post": {OperationID: "d"}, "delete": {OperationID: "e"}},
		"/v1/charges/search":                {"get": {OperationID: "f", Parameters: []parameter{got}}},
		"/v1/charges/{charge}/capture":      {"post": {OperationID: "g"}},
		"/v1/charges/{charge}/dispute":      {"get": {OperationID: "h"}, "post": {OperationID: "i"}},
		"/v1/accounts/{account}/banks":      {"post": {OperationID: "j"}},
		"/v1/accounts/{id}/login_links":     {"post": {OperationID: "k"}},
		"/v1/accounts/{account}/banks/{id}": {"delete": {OperationID: "l"}},
		"/v1/tokens":                        {"post": {OperationID: "m"}},
		"/v1/balance":                       {"get": {OperationID: "n"}},
	}}
	for in, want := range map[string]string{
		"GET /v1/charges": "charges.list", "POST /v1/charges": "charges.create", "GET /v1/charges/{charge}": "charges.retrieve",
		"POST /v1/charges/{charge}": "charges.update", "DELETE /v1/charges/{charge}": "charges.delete", "GET /v1/charges/search": "charges.search",
		"POST /v1/charges/{charge}/capture": "charges.capture", "GET /v1/charges/{charge}/dispute": "charges.dispute.retrieve",
		"POST /v1/charges/{charge}/dispute": "charges.dispute.update", "POST /v1/accounts/{account}/banks": "accounts.banks.create",
		"POST /v1/accounts/{id}/login_links": "accounts.login_links.create", "POST /v1/tokens": "tokens.create", "GET /v1/balance": "balance.retrieve",
	} {
		method, template, _ := strings.Cut(in, " ")
		if got := nameOf(d, method, template); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestADescriptionThatCannotBeReadWholeIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no operations":        `{}`,
		"two with one name":    `{"paths":{"/v1/a/{b}":{"get":{"operationId":"x"}},"/v1/a/{c}":{"get":{"operationId":"y"}}}}`,
		"a reference":          `{"paths":{"/v1/a":{"post":{"operationId":"x","requestBody":{"content":{"f":{"schema":{"properties":{"b":{"$ref":"#/c"}}}}}}}}}}`,
		"any properties":       `{"paths":{"/v1/a":{"post":{"operationId":"x","requestBody":{"content":{"f":{"schema":{"properties":{"b":{"type":"object","additionalProperties":true}}}}}}}}}}`,
		"a header":             `{"paths":{"/v1/a":{"get":{"operationId":"x","parameters":[{"in":"header","name":"h"}]}}}}`,
		"a field like a label": `{"paths":{"/v1/a/{b}":{"get":{"operationId":"x","parameters":[{"in":"path","name":"b"},{"in":"query","name":"b","schema":{"type":"string"}}]}}}}`,
	} {
		if out, err := compile([]byte(text)); err == nil {
			t.Errorf("%s: compiled to %s", name, out)
		}
	}
}
