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

// errNoProof is a request at the clients door without one of its two headers.
var errNoProof = errors.New("no token, or no proof")

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
		return nil, grant.Deny(grant.NoIdentity, "no token was presented under the scheme DPoP").Because(errNoProof)
	case len(proofs) != 1:
		return nil, grant.Deny(grant.NoIdentity, "the token came without its proof in the header DPoP").Because(errNoProof)
	}
	jkt, err := c.proofs.Verify(proofs[0], tokens.Presented{Method: v.r.HTTP.Method, URL: c.external(v), Token: text}, v.now)
	if err != nil {
		if errors.Is(err, tokens.ErrUseNonce) {
			v.nonce = c.nonces.Current(v.now)
		}
		v.invalidProof = true
		return nil, unproved(err)
	}
	return nil, c.present(v, text, peek(text).Kid, tokens.Confirmation{JKT: jkt})
}

// unproved is the denial of a proof that does not count.
func unproved(err error) error {
	var d *grant.Denial
	switch {
	case errors.As(err, &d):
		return d
	case errors.Is(err, tokens.ErrUseNonce):
		return grant.Deny(grant.TokenNotBound, "the proof wants the nonce of this answer").Because(err)
	default:
		return grant.Deny(grant.TokenNotBound, "the proof does not count").Because(err)
	}
}

// external is the URL of the request as its client wrote it: the host as policy has
// it and the port as configured, nothing that the request says of itself.
func (c *Checker) external(v *ruling) string {
	path, _, _ := strings.Cut(v.r.HTTP.Path, "?")
	return reached(hostOf(v.r.HTTP.Authority), c.c.ClientsPort) + path
}
