package proof

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// PasskeyKey is the public key of a passkey as policy writes it: the credential's
// id and its COSE key, both base64url without padding, parted by a dot. Only ES256
// is taken.
type PasskeyKey struct {
	text string
	id   []byte
	key  *ecdsa.PublicKey
}

const maxCredentialID = 1023 // WebAuthn Level 3, §4

// coseES256 parts the one encoding of an ES256 key that authenticators make (CTAP2
// canonical CBOR of {1: 2, 3: -7, -1: 1, -2: x, -3: y}).
func coseES256() [3][]byte {
	return [3][]byte{{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}, {0x22, 0x58, 0x20}, {}}
}

// ParsePasskey reads the text that policy has under passkey:.
func ParsePasskey(text string) (PasskeyKey, error) {
	idText, keyText, ok := strings.Cut(text, ".")
	id, err := base64.RawURLEncoding.Strict().DecodeString(idText)
	cose, err2 := base64.RawURLEncoding.Strict().DecodeString(keyText)
	if !ok || err != nil || err2 != nil || len(id) == 0 || len(id) > maxCredentialID || strings.ContainsAny(text, "\r\n") {
		return PasskeyKey{}, errors.New("passkey: want the credential's id and its public key in base64url, parted by a dot")
	}
	frame := coseES256()
	n := len(frame[0])
	if len(cose) != n+32+3+32 || !bytes.Equal(cose[:n], frame[0]) || !bytes.Equal(cose[n+32:n+35], frame[1]) {
		return PasskeyKey{}, errors.New("passkey: want an ES256 key (COSE algorithm -7)")
	}
	point := append([]byte{4}, append(bytes.Clone(cose[n:n+32]), cose[n+35:]...)...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return PasskeyKey{}, errors.New("passkey: its key is no point of P-256")
	}
	return PasskeyKey{text: text, id: id, key: key}, nil
}

// FormatPasskey writes the text that ParsePasskey reads.
func FormatPasskey(credentialID []byte, key *ecdsa.PublicKey) (string, error) {
	point, err := key.Bytes()
	if err != nil || len(point) != 65 || key.Curve != elliptic.P256() {
		return "", errors.New("passkey: want a key on P-256")
	}
	frame := coseES256()
	cose := bytes.Join([][]byte{frame[0], point[1:33], frame[1], point[33:]}, nil)
	return base64.RawURLEncoding.EncodeToString(credentialID) + "." + base64.RawURLEncoding.EncodeToString(cose), nil
}

// String returns the text form.
func (k PasskeyKey) String() string { return k.text }

// CredentialID returns the id by which a browser finds the passkey.
func (k PasskeyKey) CredentialID() []byte { return bytes.Clone(k.id) }

// Assertion is what an authenticator answers (WebAuthn Level 3, §5.2.2).
type Assertion struct {
	CredentialID      []byte `json:"id"`
	AuthenticatorData []byte `json:"authenticator_data"`
	ClientData        []byte `json:"client_data"` // clientDataJSON, as signed
	Signature         []byte `json:"signature"`
}

// Site is where passkeys are used: the origin of the console. The relying party is
// its host. The zero value takes no passkey.
type Site struct{ origin, host string }

// ParseSite reads an origin such as https://mayfly.acme.example. Plain http is for
// localhost, as browsers have it.
func ParseSite(origin string) (Site, error) {
	rest, secure := strings.CutPrefix(origin, "https://")
	if !secure {
		var plain bool
		if rest, plain = strings.CutPrefix(origin, "http://"); !plain {
			return Site{}, fmt.Errorf("origin %.100q: want https:// and a host", origin)
		}
	}
	host, _, _ := strings.Cut(rest, ":")
	if host == "" || strings.ContainsAny(rest, "/?#@ ") || strings.ToLower(rest) != rest || !secure && host != "localhost" {
		return Site{}, fmt.Errorf("origin %.100q: want https:// and a host in lower case, nothing behind it", origin)
	}
	return Site{origin: origin, host: host}, nil
}

// IsZero reports whether s is no site.
func (s Site) IsZero() bool { return s.origin == "" }

// Host returns the host, which is the relying party's id.
func (s Site) Host() string { return s.host }

// The flags of authenticator data (WebAuthn Level 3, §6.1).
const (
	flagUserPresent  = 1 << 0
	flagUserVerified = 1 << 2
	flagBackupable   = 1 << 3
	flagBackedUp     = 1 << 4
	flagAttested     = 1 << 6
	flagExtensions   = 1 << 7
	authDataSize     = 37
)

// check reports, as nil, that k answered the challenge at s, its user present and
// verified (WebAuthn Level 3, §7.2). The counter is not looked at: whoever checks
// keeps none, and one Offer counts once.
func (k PasskeyKey) check(a Assertion, challenge [32]byte, s Site) error {
	if s.IsZero() {
		return errors.New("a passkey, and no origin is configured where one may be used")
	}
	if !bytes.Equal(a.CredentialID, k.id) {
		return errors.New("another passkey answered")
	}
	if err := checkClientData(a.ClientData, challenge, s); err != nil {
		return err
	}
	if err := checkAuthenticatorData(a.AuthenticatorData, s); err != nil {
		return err
	}
	client := sha256.Sum256(a.ClientData)
	sum := sha256.Sum256(append(bytes.Clone(a.AuthenticatorData), client[:]...))
	if k.key == nil || !ecdsa.VerifyASN1(k.key, sum[:], a.Signature) {
		return errors.New("the passkey's signature does not hold")
	}
	return nil
}

func checkAuthenticatorData(b []byte, s Site) error {
	if len(b) < authDataSize {
		return errors.New("authenticator data that is not whole")
	}
	party := sha256.Sum256([]byte(s.host))
	flags := b[32]
	switch {
	case !bytes.Equal(b[:32], party[:]):
		return errors.New("the passkey answered another site")
	case flags&flagUserPresent == 0:
		return errors.New("nobody was present at the passkey")
	case flags&flagUserVerified == 0:
		return errors.New("the passkey did not verify its user")
	case flags&flagBackedUp != 0 && flags&flagBackupable == 0:
		return errors.New("authenticator data that contradicts itself")
	case flags&flagAttested != 0, flags&flagExtensions == 0 && len(b) != authDataSize:
		return errors.New("authenticator data of something else than an assertion")
	}
	return nil
}

// clientData is what a browser adds to the challenge. Browsers may write members
// that are not known here.
type clientData struct {
	Type        string `json:"type"`
	Challenge   string `json:"challenge"`
	Origin      string `json:"origin"`
	CrossOrigin bool   `json:"crossOrigin"`
	TopOrigin   string `json:"topOrigin"`
}

func checkClientData(b []byte, challenge [32]byte, s Site) error {
	var c clientData
	if len(b) > 4096 || json.Unmarshal(b, &c) != nil {
		return errors.New("client data that is malformed")
	}
	if err := onceEach(b); err != nil {
		return fmt.Errorf("client data: %w", err)
	}
	switch {
	case c.Type != "webauthn.get":
		return errors.New("the passkey was asked for something else than an assertion")
	case c.Challenge != base64.RawURLEncoding.EncodeToString(challenge[:]):
		return errors.New("the passkey signed something else than this offer")
	case c.Origin != s.origin:
		return errors.New("the passkey was used at another origin")
	case c.CrossOrigin || c.TopOrigin != "":
		return errors.New("the passkey was used inside another site's page")
	}
	return nil
}

// onceEach refuses an object that has a member twice, in any case: two readers
// could read two things.
func onceEach(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want an object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return errors.New("malformed")
		}
		if seen[strings.ToLower(key)] {
			return errors.New("a member is there twice")
		}
		seen[strings.ToLower(key)] = true
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return errors.New("malformed")
		}
	}
	return nil
}
