package proxy

import (
	"errors"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// maxProofs is how many proofs are remembered, so that none counts twice.
const maxProofs = 1 << 16

// client goes through the steps of the clients door up to who it is: a token and a
// fresh proof of the key that it is bound to (RFC 9449) are all that count there.
func (c *Checker) client(v *ruling, unread *grant.Denial) (*app.Response, error) {
	if err := c.c.Table.Ready(); err != nil {
		return nil, err
	}
	if unread != nil {
		return nil, unread
	}
	if err := c.findApp(v); err != nil {
		return nil, err
	}
	v.withheld = true
	if own, err := c.metadata(v); own != nil || err != nil {
		return own, err
	}
	if err := c.fresh(v); err != nil {
		return nil, err
	}
	scheme, text := authorization(v.r.HTTP.Header)
	proofs := v.r.HTTP.Header.Values("Dpop")
	switch {
	case scheme == schemeBearer && peek(text).Issuer != "":
		return nil, grant.Deny(grant.TokenNotBound, "a token counts here under the scheme DPoP only, with a proof")
	case scheme != schemeDPoP || text == "":
		return nil, grant.Deny(grant.NoIdentity, "no token was presented under the scheme DPoP")
	case len(proofs) != 1:
		return nil, grant.Deny(grant.NoIdentity, "the token came without its proof in the header DPoP")
	}
	said := peek(text)
	jkt, ok := said.thumbprint()
	if !ok {
		return nil, grant.Deny(grant.TokenNotBound, "the token is bound to no DPoP key")
	}
	// The token first: only who has one fills what remembers proofs.
	if err := c.present(v, text, said.Kid, tokens.Key(jkt)); err != nil {
		return nil, err
	}
	return nil, c.prove(v, proofs[0], text, jkt)
}

// prove wants a fresh proof, by that key, for this request and this token.
func (c *Checker) prove(v *ruling, proof, token string, jkt [32]byte) error {
	_, err := c.proofs.Verify(proof, tokens.Presented{Method: v.r.HTTP.Method, URL: c.external(v), Token: token, Key: &jkt}, v.now)
	if err == nil {
		return nil
	}
	v.invalidProof = true
	if errors.Is(err, tokens.ErrUseNonce) {
		v.nonce = c.nonces.Current(v.now)
	}
	// Nobody has proven to be the token's holder: it is not told what its holder is.
	v.token, v.caller = nil, caller{}
	return err
}

// external is the URL of the request as its client wrote it: the host as policy has
// it and the port as configured, nothing that the request says of itself.
func (c *Checker) external(v *ruling) string {
	path, _, _ := strings.Cut(v.r.HTTP.Path, "?")
	return reached(hostOf(v.r.HTTP.Authority), c.c.ClientsPort) + path
}
