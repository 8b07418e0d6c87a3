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
	if err := c.c.Table.Fresh(v.app.Name); err != nil {
		return nil, err
	}
	scheme, text := authorization(v.r.HTTP.Header)
	proofs := v.r.HTTP.Header.Values("Dpop")
	switch {
	case scheme == schemeBearer && peek(text).Iss != "":
		return nil, grant.Deny(grant.TokenNotBound, "a token counts here under the scheme DPoP only, with a proof")
	case scheme != schemeDPoP || text == "":
		return nil, grant.Deny(grant.NoIdentity, "no token was presented under the scheme DPoP")
	case len(proofs) != 1:
		return nil, grant.Deny(grant.NoIdentity, "the token came without its proof in the header DPoP")
	}
	proof, err := c.proofs.Check(proofs[0], tokens.Presented{Method: v.r.HTTP.Method, URL: c.external(v), Token: text}, v.now)
	if errors.Is(err, tokens.ErrUseNonce) {
		v.nonce = c.nonces.Current(v.now)
	}
	if err != nil {
		return nil, err
	}
	if err := c.present(v, text, peek(text).Kid, tokens.OfKey(proof.JKT)); err != nil {
		return nil, err
	}
	return nil, c.proofs.Spend(proof, v.now) // last: only the token's holder can fill what remembers proofs
}

// external is the URL of the request as its client wrote it: the host as policy has
// it and the port as configured, nothing that the request says of itself.
func (c *Checker) external(v *ruling) string {
	path, _, _ := strings.Cut(v.r.HTTP.Path, "?")
	return reached(hostOf(v.r.HTTP.Authority), c.c.ClientsPort) + path
}
