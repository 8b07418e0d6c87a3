package tokens

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSize is the longest token or proof that is looked at, in bytes.
const MaxSize = 8 << 10

// compact is a JWS in compact form (RFC 7515 §7.1), split and decoded, not verified.
type compact struct {
	input     string // what is signed: the first two segments as they came
	header    node
	payload   string // of the second segment, decoded, not yet read
	signature []byte
}

// splitCompact takes text apart: three segments of base64url, nothing else, the
// first a JSON object. It looks at the size before anything.
func splitCompact(text string) (compact, error) {
	if len(text) > MaxSize {
		return compact{}, errors.New("it is too long")
	}
	head, rest, ok := strings.Cut(text, ".")
	body, tail, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.IndexByte(tail, '.') >= 0 {
		return compact{}, errors.New("it has not three segments")
	}
	c := compact{input: text[:len(head)+1+len(body)]}
	header, err := decode64(head)
	if err != nil {
		return compact{}, errors.New("the header is not base64url")
	}
	payload, err := decode64(body)
	if err != nil {
		return compact{}, errors.New("the payload is not base64url")
	}
	if c.signature, err = decode64(tail); err != nil {
		return compact{}, errors.New("the signature is not base64url")
	}
	if c.header, err = parseObject(string(header)); err != nil {
		return compact{}, fmt.Errorf("header: %w", err)
	}
	c.payload = string(payload)
	return c, nil
}

// CheckForm reports whether text is a compact JWS that can be read in one way only:
// its size, its segments, its JSON, no header member but those named, and no claim that
// differs from one of claims in case alone. It is for tokens of others, before the
// reader of their own kind, and verifies nothing.
func CheckForm(text string, header []string, claims ...string) error {
	c, err := splitCompact(text)
	if err != nil {
		return err
	}
	if err := c.header.only(header...); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	n, err := parseObject(c.payload)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return n.exact(claims...)
}

// typed refuses another typ: exactly this one, without "application/" (RFC 8725
// §3.11). What makes two kinds of token differ is the one thing not left to taste.
func (c *compact) typed(want string) error {
	typ, err := c.header.get("typ").str()
	if err != nil {
		return fmt.Errorf("typ: %w", err)
	}
	if typ != want {
		return fmt.Errorf("typ is %s, want %s", shown(typ), want)
	}
	return nil
}

// verify checks the signature over the text as it came. alg is the header's.
func (c *compact) verify(alg Alg, key PublicKey) error {
	method := alg.method()
	if method == nil || key.Alg != alg {
		return errors.New("the key is not for this alg")
	}
	if err := method.Verify(c.input, c.signature, key.Key); err != nil {
		return errors.New("the signature is wrong")
	}
	return nil
}

// seal makes a compact JWS of a header and a payload, both JSON.
func seal(key PrivateKey, header, payload []byte) (string, error) {
	input := rawURL().EncodeToString(header) + "." + rawURL().EncodeToString(payload)
	signature, err := key.sign(input)
	if err != nil {
		return "", err
	}
	return input + "." + rawURL().EncodeToString(signature), nil
}
