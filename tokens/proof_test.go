package tokens

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

const proofURL = "https://stripe.acme.example/v1/charges"

// client is whoever has a DPoP key and writes what they like.
type client struct {
	Prover
	jwk    string
	header string
}

func newClient(t testing.TB, alg Alg) *client {
	t.Helper()
	key, err := GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newJWK(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{Prover: Prover{key}, jwk: fmt.Sprintf(`{"kty":%q,"crv":%q,"x":%q,"y":%q}`, w.Kty, w.Crv, w.X, w.Y)}
	if alg == RS256 {
		c.jwk = fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, w.N, w.E)
	}
	c.header = fmt.Sprintf(`{"typ":"dpop+jwt","alg":%q,"jwk":%s}`, alg, c.jwk)
	return c
}

func (c *client) forge(t testing.TB, header, body string) string {
	t.Helper()
	proof, err := seal(c.key, []byte(header), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func (c *client) body(jti string) string {
	return fmt.Sprintf(`{"jti":%q,"htm":"GET","htu":%q,"iat":%d,"ath":%q}`, jti, proofURL, testNow().Unix(), AccessTokenHash("token"))
}

func newProofs(t testing.TB, c ProofConfig) *Proofs {
	t.Helper()
	p, err := NewProofs(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func presented() Presented {
	return Presented{Method: "GET", URL: proofURL + "?limit=3", Token: "token"}
}

func TestDpopProofsAreStrict(t *testing.T) {
	c, proofs := newClient(t, ES256), newProofs(t, ProofConfig{})
	other, strong := newClient(t, ES256), newClient(t, RS256)
	for _, good := range []*client{c, strong} {
		jkt, err := proofs.Verify(good.forge(t, good.header, good.body("1")), presented(), testNow())
		if want, _ := good.Thumbprint(); err != nil || jkt != want {
			t.Fatal(err)
		}
	}
	head, body := c.header, c.body("2")
	in := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("no %s in %s", from, text)
		}
		return strings.Replace(text, from, to, 1)
	}
	ath := fmt.Sprintf(`,"ath":%q`, AccessTokenHash("token"))
	iat := fmt.Sprintf(`"iat":%d`, testNow().Unix())
	for name, forged := range map[string][2]string{
		"typ of a token":           {in(head, "dpop+jwt", "at+jwt"), body},
		"typ JWT":                  {in(head, "dpop+jwt", "JWT"), body},
		"no typ":                   {in(head, `"typ":"dpop+jwt",`, ""), body},
		"alg none":                 {in(head, "ES256", "none"), body},
		"alg of another key":       {in(head, "ES256", "RS256"), body},
		"alg HS256":                {in(head, "ES256", "HS256"), body},
		"a kid":                    {in(head, `"typ"`, `"kid":"x","typ"`), body},
		"a jku":                    {in(head, `"typ"`, `"jku":"https://evil.example","typ"`), body},
		"crit":                     {in(head, `"typ"`, `"crit":["x"],"typ"`), body},
		"no key":                   {in(head, `,"jwk":`+c.jwk, ""), body},
		"another's key":            {other.header, body},
		"a private key":            {in(head, `"kty"`, `"d":"AAAA","kty"`), body},
		"a symmetric key":          {in(head, c.jwk, `{"kty":"oct","k":"AAAA"}`), body},
		"a certificate":            {in(head, `"kty"`, `"x5c":["AA"],"kty"`), body},
		"a key for encryption":     {in(head, `"kty"`, `"use":"enc","kty"`), body},
		"a key twice":              {in(head, `"jwk"`, `"jwk":`+other.jwk+`,"jwk"`), body},
		"another curve":            {in(head, "P-256", "P-384"), body},
		"a point outside":          {in(head, `"x":"`, `"x":"AAAA`), body},
		"no jti":                   {head, in(body, `"jti":"2",`, "")},
		"an empty jti":             {head, in(body, `"jti":"2"`, `"jti":""`)},
		"a long jti":               {head, in(body, `"jti":"2"`, `"jti":"`+strings.Repeat("a", maxJTI+1)+`"`)},
		"another method":           {head, in(body, `"GET"`, `"POST"`)},
		"a method in small":        {head, in(body, `"GET"`, `"get"`)},
		"another host":             {head, in(body, "stripe.acme", "wiki.acme")},
		"another scheme":           {head, in(body, "https://", "http://")},
		"another port":             {head, in(body, "acme.example/", "acme.example:8443/")},
		"another path":             {head, in(body, "/v1/charges", "/v1/refunds")},
		"a longer path":            {head, in(body, "/v1/charges", "/v1/charges/")},
		"a path around":            {head, in(body, "/v1/charges", "/v1/x/../charges")},
		"a doubled slash":          {head, in(body, "/v1/charges", "/v1//charges")},
		"an escaped slash":         {head, in(body, "/v1/charges", "/v1%2Fcharges")},
		"a user in the URL":        {head, in(body, "https://", "https://stripe.acme.example@")},
		"no URL":                   {head, in(body, proofURL, "stripe.acme.example/v1/charges")},
		"too old":                  {head, in(body, iat, fmt.Sprintf(`"iat":%d`, testNow().Unix()-61))},
		"of the future":            {head, in(body, iat, fmt.Sprintf(`"iat":%d`, testNow().Unix()+61))},
		"a time in text":           {head, in(body, iat, fmt.Sprintf(`"iat":"%d"`, testNow().Unix()))},
		"no time":                  {head, in(body, iat+",", "")},
		"no token hash":            {head, in(body, ath, "")},
		"another token's hash":     {head, in(body, AccessTokenHash("token"), AccessTokenHash("other"))},
		"a time twice":             {head, in(body, `}`, `,`+iat+`}`)},
		"a time in capitals":       {head, in(body, `}`, `,"IAT":1}`)},
		"a nonce that is a number": {head, in(body, `}`, `,"nonce":1}`)},
	} {
		t.Run(name, func(t *testing.T) {
			jkt, err := proofs.Verify(c.forge(t, forged[0], forged[1]), presented(), testNow())
			if grant.ReasonOf(err) != grant.BadToken || jkt != [32]byte{} {
				t.Errorf("%x, %v", jkt, err)
			}
		})
	}
	noToken := presented()
	noToken.Token = ""
	if _, err := proofs.Verify(c.forge(t, head, c.body("3")), noToken, testNow()); err == nil {
		t.Error("a proof for a token counts without one")
	}
	if _, err := proofs.Verify(c.forge(t, head, c.body("3")), Presented{}, testNow()); err == nil {
		t.Error("a proof counts for no request")
	}
}

func TestDpopURLsAreComparedAsWritten(t *testing.T) {
	for _, c := range []struct {
		htu, request string
		same         bool
	}{
		{"https://a.example", "https://a.example/", true},
		{"HTTPS://A.Example:443/x", "https://a.example/x?q=1#f", true},
		{"http://a.example:80/x", "http://a.example/x", true},
		{"https://a.example/%7euser/%2d", "https://a.example/~user/-", true},
		{"https://a.example/%c3%a9", "https://a.example/%C3%A9", true},
		{"https://a.example/a%2fb", "https://a.example/a%2Fb", true},
		{"https://a.example/a%2fb", "https://a.example/a/b", false},
		{"https://a.example/a%3Fb", "https://a.example/a?b", false},
		{"https://a.example/A", "https://a.example/a", false},
		{"https://a.example/a/", "https://a.example/a", false},
		{"https://a.example//a", "https://a.example/a", false},
		{"https://a.example/./a", "https://a.example/a", false},
		{"https://a.example/%zz", "https://a.example/%zz", false},
		{"https://a.example:8443/", "https://a.example/", false},
		{"https://a.example.evil.example/", "https://a.example/", false},
		{"https:a.example/", "https:a.example/", false},
		{"", "", false},
	} {
		if sameURL(c.htu, c.request) != c.same || sameURL(c.request, c.htu) != c.same {
			t.Errorf("%s and %s: want the same: %v", c.htu, c.request, c.same)
		}
	}
}

// TestDpopProofCountsOnceWhateverTheClockDoes: within its window, at its edges, and
// when the clock that it is compared with steps back.
func TestDpopProofCountsOnceWhateverTheClockDoes(t *testing.T) {
	c := newClient(t, ES256)
	proof := c.forge(t, c.header, c.body("once"))
	for _, start := range []time.Duration{-ProofLife, 0, ProofLife} {
		proofs := newProofs(t, ProofConfig{})
		if _, err := proofs.Verify(proof, presented(), testNow().Add(start)); err != nil {
			t.Fatalf("at %s: %v", start, err)
		}
		for at := -ProofLife; at <= 10*ProofLife; at += 5 * time.Second {
			if _, err := proofs.Verify(proof, presented(), testNow().Add(at)); err == nil {
				t.Fatalf("first at %s, it counts again at %s", start, at)
			}
		}
		for _, later := range []time.Duration{10 * ProofLife, 15 * ProofLife} { // others come meanwhile
			body := strings.Replace(c.body(later.String()), fmt.Sprint(testNow().Unix()), fmt.Sprint(testNow().Add(later).Unix()), 1)
			if _, err := proofs.Verify(c.forge(t, c.header, body), presented(), testNow().Add(later)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := proofs.Verify(proof, presented(), testNow()); err == nil {
			t.Errorf("first at %s, it counts again when the clock has stepped back", start)
		}
	}
}

// TestDpopReplayRefusesRatherThanForgets: what remembers proofs is full, and the first
// proof still counts for nothing.
func TestDpopReplayRefusesRatherThanForgets(t *testing.T) {
	c, proofs := newClient(t, ES256), newProofs(t, ProofConfig{Replay: 3})
	try := func(jti string, at time.Duration) grant.Reason {
		body := strings.Replace(c.body(jti), fmt.Sprint(testNow().Unix()), fmt.Sprint(testNow().Add(at).Unix()), 1)
		_, err := proofs.Verify(c.forge(t, c.header, body), presented(), testNow().Add(at))
		return grant.ReasonOf(err)
	}
	for _, jti := range []string{"a", "b", "c"} {
		if r := try(jti, 0); r != "" {
			t.Fatal(r)
		}
	}
	if r := try("d", 0); r != grant.Overloaded {
		t.Errorf("the fourth of three: %q", r)
	}
	if r := try("a", 0); r != grant.BadToken {
		t.Errorf("the first again: %q", r)
	}
	if r := try("d", 10*ProofLife); r != "" {
		t.Errorf("when the others are dead: %q", r)
	}
}

func TestDpopNonceIsAskedFor(t *testing.T) {
	nonces, err := NewNonces()
	if err != nil {
		t.Fatal(err)
	}
	others, err := NewNonces()
	if err != nil {
		t.Fatal(err)
	}
	c, proofs := newClient(t, ES256), newProofs(t, ProofConfig{Nonces: nonces})
	for name, n := range map[string]struct {
		nonce string
		ok    bool
	}{
		"none":                {"", false},
		"one of now":          {nonces.Current(testNow()), true},
		"one of a while ago":  {nonces.Current(testNow().Add(-nonceSlot)), true},
		"one of long ago":     {nonces.Current(testNow().Add(-2 * nonceSlot)), false},
		"one of the future":   {nonces.Current(testNow().Add(nonceSlot)), false},
		"one of another door": {others.Current(testNow()), false},
		"any":                 {"abc", false},
	} {
		proof, err := c.Prove("GET", proofURL, "token", n.nonce, testNow())
		if err != nil {
			t.Fatal(err)
		}
		_, err = proofs.Verify(proof, presented(), testNow())
		if (err == nil) != n.ok || err != nil && !errors.Is(err, ErrUseNonce) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenKeysArePrintedByNobody(t *testing.T) {
	c := newClient(t, ES256)
	raw, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseProver(raw)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := again.Thumbprint(); a == [32]byte{} {
		t.Error("the key is not kept")
	}
	for _, text := range []string{fmt.Sprint(c.Prover), fmt.Sprintf("%+v", c.key), fmt.Sprintf("%#v", c.Prover), fmt.Sprintf("%v", struct{ K PrivateKey }{c.key}), fmt.Sprintf("%+v", struct{ k PrivateKey }{c.key})} {
		if len(text) > 60 {
			t.Errorf("a key is printed: %s", text)
		}
	}
	if _, err := (Prover{}).Prove("GET", proofURL, "", "", testNow()); err == nil {
		t.Error("no key proves")
	}
	if _, err := (PrivateKey{}).Marshal(); err == nil {
		t.Error("no key is kept")
	}
}
