package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
)

// signer is what a browser needs to ask one person's passkeys.
type signer struct {
	Party string // the relying party's id
	IDs   string // of the person's passkeys, base64url, parted by spaces; "" if policy lists none
}

// signer returns what policy lists for the reader's person. A host that browsers
// make no passkey for has none.
func (c *Console) signer(r *http.Request, v *visit) (signer, error) {
	site, err := proof.ParseSite(c.c.Origin)
	if err != nil {
		return signer{}, nil
	}
	set, err := c.service.Policy(r.Context())
	if err != nil {
		return signer{}, err
	}
	return signer{Party: site.Host(), IDs: passkeyIDs(set.ApproverKeys(set.PersonOf(v.Principal)))}, nil
}

func passkeyIDs(keys []policy.ApproverKey) string {
	var out []string
	for _, k := range keys {
		if key, err := proof.ParsePasskey(k.Text); k.Sort == "passkey" && err == nil {
			out = append(out, base64.RawURLEncoding.EncodeToString(key.CredentialID()))
		}
	}
	return strings.Join(out, " ")
}

// signature reads a passkey's answer from a form; none is none. Whether it holds
// is for access to say.
func (f form) signature() (proof.Signature, error) {
	if f["passkey"] == "" {
		return proof.Signature{}, nil
	}
	var a proof.Assertion
	for name, to := range map[string]*[]byte{
		"passkey": &a.CredentialID, "authenticator_data": &a.AuthenticatorData, "client_data": &a.ClientData, "signature": &a.Signature,
	} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(f[name])
		if err != nil {
			return proof.Signature{}, badForm("the passkey's answer cannot be read")
		}
		*to = b
	}
	return proof.Signature{Passkey: &a}, nil
}

// passkeyView is the page that makes a passkey. Line is what policy takes, once
// one is made.
type passkeyView struct {
	Party, Person, Name string
	Listed              bool // policy lists the account under people:
	Line                string
}

func (c *Console) showPasskey(w http.ResponseWriter, r *http.Request, v *visit) error {
	return c.passkeyPage(w, r, v, http.StatusOK, nil, "")
}

func (c *Console) passkeyPage(w http.ResponseWriter, r *http.Request, v *visit, status int, n *notice, line string) error {
	s, err := c.signer(r, v)
	if err != nil {
		return err
	}
	set, err := c.service.Policy(r.Context())
	if err != nil {
		return err
	}
	person := set.PersonOf(v.Principal)
	return c.render(w, r, status, "passkey", page{Title: "Passkey", Who: v, Notice: n, Passkeys: true, Body: passkeyView{
		Party: s.Party, Person: personText(person), Listed: person != identity.PersonOf(v.Principal), Name: v.Name(), Line: line,
	}})
}

// makePasskey shows the line for policy. Nothing is kept: whoever can change the
// database must not be able to add a key.
func (c *Console) makePasskey(w http.ResponseWriter, r *http.Request, v *visit, f form) error {
	line, why := registered(f, c.c.Origin)
	if why != "" {
		return c.passkeyPage(w, r, v, http.StatusUnprocessableEntity, &notice{"bad", "No passkey was made", sentence(why)}, "")
	}
	return c.passkeyPage(w, r, v, http.StatusOK, nil, line)
}

// registered returns what policy writes for the passkey that a browser made at
// origin, or why it is none. There is no attestation and no challenge to look at:
// a line counts once somebody signs it into policy.
func registered(f form, origin string) (line, why string) {
	site, err := proof.ParseSite(origin)
	if err != nil {
		return "", "no browser makes passkeys for the address of this console"
	}
	client, err := base64.RawURLEncoding.Strict().DecodeString(f["client_data"])
	attested, err2 := base64.RawURLEncoding.Strict().DecodeString(f["attestation"])
	if err != nil || err2 != nil {
		return "", "the browser's answer cannot be read"
	}
	answer := protocol.AuthenticatorAttestationResponse{AttestationObject: attested}
	answer.ClientDataJSON = client
	parsed, err := answer.Parse()
	if err != nil {
		return "", "the browser's answer cannot be read"
	}
	said, data, party := parsed.CollectedClientData, parsed.AttestationObject.AuthData, sha256.Sum256([]byte(site.Host()))
	switch {
	case said.Type != protocol.CreateCeremony, said.Origin != origin, said.CrossOrigin, said.TopOrigin != "", !bytes.Equal(data.RPIDHash, party[:]):
		return "", "it was made at another site"
	case !data.Flags.UserPresent() || !data.Flags.UserVerified():
		return "", "it did not verify its user, and would never be taken: choose one with a PIN, a fingerprint or the like"
	}
	line = base64.RawURLEncoding.EncodeToString(data.AttData.CredentialID) + "." + base64.RawURLEncoding.EncodeToString(data.AttData.CredentialPublicKey)
	if _, err := proof.ParsePasskey(line); err != nil {
		return "", err.Error()
	}
	return line, ""
}
