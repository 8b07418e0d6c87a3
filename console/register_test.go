package console_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/proof/prooftest"
)

// registration is what a browser answers once an authenticator made a passkey.
type registration struct {
	party  string
	flags  byte
	client map[string]any
	text   string // of the passkey, as policy writes it
}

// form is the registration as the page posts it (WebAuthn Level 3, §6.5).
func (a registration) form(t *testing.T) url.Values {
	t.Helper()
	idText, keyText, _ := strings.Cut(a.text, ".")
	id, err := base64.RawURLEncoding.DecodeString(idText)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.RawURLEncoding.DecodeString(keyText)
	if err != nil {
		t.Fatal(err)
	}
	party := sha256.Sum256([]byte(a.party))
	data := bytes.Join([][]byte{party[:], {a.flags, 0, 0, 0, 0}, make([]byte, 16), binary.BigEndian.AppendUint16(nil, uint16(len(id))), id, key}, nil)
	// CBOR of {"fmt": "none", "attStmt": {}, "authData": data}
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"), binary.BigEndian.AppendUint16(nil, uint16(len(data)))...)
	object = append(object, data...)
	client, err := json.Marshal(a.client)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return url.Values{"client_data": {encode(client)}, "attestation": {encode(object)}}
}

// TestARegistrationThatWouldNotCount gets no line: a passkey that did not verify its
// user, was made elsewhere or in another site's page, or an answer to another question.
func TestARegistrationThatWouldNotCount(t *testing.T) {
	w := newWorld(t)
	key := prooftest.New(t).PasskeyText(t)
	for _, c := range []struct {
		name   string
		change func(*registration)
		want   string
	}{
		{"as it is", func(*registration) {}, ""},
		{"nobody verified", func(a *registration) { a.flags &^= 0x04 }, "did not verify its user"},
		{"nobody present", func(a *registration) { a.flags &^= 0x01 }, "did not verify its user"},
		{"another origin", func(a *registration) { a.client["origin"] = "https://evil.example" }, "at another site"},
		{"an origin that begins alike", func(a *registration) { a.client["origin"] = "https://mayfly.acme.example:8443.evil.example" }, "at another site"},
		{"another port", func(a *registration) { a.client["origin"] = "https://mayfly.acme.example" }, "at another site"},
		{"another relying party", func(a *registration) { a.party = "acme.example" }, "at another site"},
		{"inside another's page", func(a *registration) { a.client["crossOrigin"] = true }, "at another site"},
		{"below another's page", func(a *registration) { a.client["topOrigin"] = "https://evil.example" }, "at another site"},
		{"an assertion", func(a *registration) { a.client["type"] = "webauthn.get" }, "at another site"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := registration{party: "mayfly.acme.example", flags: 0x45, text: key, client: map[string]any{
				"type": "webauthn.create", "challenge": "AAAA", "origin": "https://mayfly.acme.example:8443", "crossOrigin": false,
			}}
			c.change(&a)
			status := http.StatusUnprocessableEntity
			if c.want == "" {
				status = http.StatusOK
			}
			res := w.bob().do("POST", "/passkey", a.form(t).Encode())
			page := res.Body.String()
			if res.Code != status || strings.Contains(page, key) != (c.want == "") || !strings.Contains(page, c.want) {
				t.Errorf("want %q, got %d %s", c.want, res.Code, text(page))
			}
		})
	}
}
