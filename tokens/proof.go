package tokens

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// proofType is the typ of a DPoP proof (RFC 9449 §4.2).
const proofType = "dpop+jwt"

// ProofLife is how far from the reader's clock, to either side, a proof may have
// been made.
const ProofLife = 60 * time.Second

// maxJTI bounds the jti of a proof, in bytes.
const maxJTI = 128

// defaultReplay is how many proofs of one window are remembered.
const defaultReplay = 1 << 16

// ErrUseNonce says that a proof must carry a nonce that the server gives
// (RFC 9449 §8): the client is to try again with it.
var ErrUseNonce = errors.New("the proof carries no nonce that counts now")

// ProofConfig configures Proofs.
type ProofConfig struct {
	Nonces *Nonces // nil: proofs need no nonce
	Replay int     // how many proofs of one window are remembered, 0 = 65536
}

// Proofs verifies DPoP proofs, each once. It is safe for concurrent use.
type Proofs struct {
	nonces *Nonces
	seen   *replay
}

// Presented is the request that a proof must be for.
type Presented struct {
	Method string             // as it came
	URL    string             // https://host[:port]/path as configured, never as the caller's Host says; query and fragment do not count
	Token  string             // the access token beside it, "" if none: then the proof has no ath
	Key    *[sha256.Size]byte // the thumbprint of the key that it must be by, nil: any
}

// NewProofs checks c.
func NewProofs(c ProofConfig) (*Proofs, error) {
	if c.Replay < 0 {
		return nil, errors.New("proofs: the size of the window is negative")
	}
	if c.Replay == 0 {
		c.Replay = defaultReplay
	}
	return &Proofs{nonces: c.Nonces, seen: newReplay(c.Replay)}, nil
}

// Verify returns the thumbprint of the key that made a proof for of at now. The
// second use of a proof is refused, and so is every proof while more of one window
// are remembered than there is room for. One by another key than of names is refused
// before it is remembered: whoever holds a stolen token without its key takes no room.
// Errors are a *grant.Denial with bad_token, token_not_bound or overloaded; it wraps ErrUseNonce where a nonce would help (RFC 9449 §4.3).
func (p *Proofs) Verify(proof string, of Presented, now time.Time) (jkt [sha256.Size]byte, err error) {
	got, err := readProof(proof)
	if err == nil {
		err = got.fits(of, now)
	}
	if err == nil && p.nonces != nil && !p.nonces.valid(got.nonce, now) {
		err = ErrUseNonce
	}
	if err != nil {
		return jkt, grant.Deny(grant.BadToken, "the DPoP proof was refused").Because(err)
	}
	if jkt, err = thumbprint(got.key.Key); err != nil {
		return jkt, grant.Deny(grant.BadToken, "the DPoP proof was refused").Because(err)
	}
	if of.Key != nil && *of.Key != jkt {
		return [sha256.Size]byte{}, grant.Deny(grant.TokenNotBound, "the proof is by another key than the token's")
	}
	switch p.seen.take(jkt, got.jti, got.issued, now) {
	case replayed:
		return [sha256.Size]byte{}, grant.Deny(grant.BadToken, "the DPoP proof was used before")
	case full:
		return [sha256.Size]byte{}, grant.Deny(grant.Overloaded, "more DPoP proofs are in use than can be told apart")
	default:
		return jkt, nil
	}
}

// dpop is a proof whose signature is its own key's.
type dpop struct {
	key                             PublicKey
	jti, method, url, nonce, digest string
	hasDigest                       bool
	issued                          time.Time
}

func readProof(text string) (p dpop, err error) {
	t, err := splitCompact(text)
	if err != nil {
		return p, err
	}
	if err := t.header.only("alg", "jwk", "typ"); err != nil {
		return p, err
	}
	if err := t.typed(proofType); err != nil {
		return p, err
	}
	alg, err := algOf(t.header.get("alg"))
	if err != nil {
		return p, err
	}
	if p.key, err = t.header.get("jwk").jwk(); err != nil {
		return p, err
	}
	if err := t.verify(alg, p.key); err != nil {
		return p, err
	}
	return p, p.read(t.payload)
}

// read takes the claims. Others may stand beside them (RFC 9449 §4.2), but none
// that a careless reader takes for one of these.
func (p *dpop) read(payload string) error {
	n, err := parseObject(payload)
	if err != nil {
		return err
	}
	if err := n.exact("jti", "htm", "htu", "iat", "ath", "nonce"); err != nil {
		return err
	}
	for _, f := range [...]struct {
		name string
		to   *string
	}{{"jti", &p.jti}, {"htm", &p.method}, {"htu", &p.url}} {
		if *f.to, err = n.get(f.name).str(); err != nil {
			return err
		}
	}
	if len(p.jti) > maxJTI {
		return errors.New("jti is too long")
	}
	if p.issued, err = n.get("iat").date(); err != nil {
		return err
	}
	if ath := n.get("ath"); ath != nil {
		p.hasDigest = true
		if p.digest, err = ath.str(); err != nil {
			return err
		}
	}
	if nonce := n.get("nonce"); nonce != nil {
		p.nonce, err = nonce.str()
	}
	return err
}

// fits reports whether the proof is for this request, and new enough.
func (p *dpop) fits(of Presented, now time.Time) error {
	age := now.Sub(p.issued)
	switch {
	case p.method != of.Method || of.Method == "":
		return errors.New("htm is another")
	case !sameURL(p.url, of.URL):
		return errors.New("htu is another")
	case age > ProofLife || age < -ProofLife:
		return errors.New("iat is too far from now")
	case p.hasDigest != (of.Token != ""):
		return errors.New("ath is missing, or there without a token")
	case p.hasDigest && p.digest != AccessTokenHash(of.Token):
		return errors.New("ath is of another token")
	default:
		return nil
	}
}

// AccessTokenHash is the ath of a token (RFC 9449 §4.2).
func AccessTokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return rawURL().EncodeToString(sum[:])
}

// sameURL compares htu with the address as configured, without query and fragment,
// by RFC 3986 §6.2.2.1, §6.2.2.2 and §6.2.3: scheme, host and escapes in any case,
// unreserved characters escaped or not, the default port left out, an empty path is
// "/". Dot segments and doubled or escaped slashes are not the same as none: an app
// may tell them apart.
func sameURL(htu, want string) bool {
	a, okA := targetOf(htu)
	b, okB := targetOf(want)
	return okA && okB && a == b
}

// target is what of an address counts.
type target struct{ scheme, host, path string }

func targetOf(text string) (t target, ok bool) {
	text, _, _ = strings.Cut(text, "#")
	text, _, _ = strings.Cut(text, "?")
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.User != nil || u.Host == "" {
		return t, false
	}
	t = target{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host), path: normalPath(u.EscapedPath())}
	switch t.scheme {
	case "https":
		t.host = strings.TrimSuffix(t.host, ":443")
	case "http":
		t.host = strings.TrimSuffix(t.host, ":80")
	default:
		return t, false
	}
	if t.path == "" {
		t.path = "/"
	}
	return t, true
}

// normalPath writes escapes in upper case, and unreserved characters (RFC 3986 §2.3)
// as themselves. What is no escape stays as it is.
func normalPath(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			out.WriteByte(path[i])
			continue
		}
		escape := path[i : i+3]
		plain, err := url.PathUnescape(escape)
		if err == nil && (isBase64URL(plain) || plain == "." || plain == "~") {
			escape = plain
		}
		if i += 2; len(escape) == 3 {
			escape = strings.ToUpper(escape)
		}
		out.WriteString(escape)
	}
	return out.String()
}
