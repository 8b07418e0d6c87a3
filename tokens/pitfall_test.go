package tokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// forge is whoever holds a key that counts and writes what they like.
func (h *house) forge(t testing.TB, header, payload string) string {
	t.Helper()
	token, err := seal(h.key, []byte(header), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (h *house) header() string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, h.key.Public().Alg, h.key.Public().ID)
}

func payload(t testing.TB) string {
	t.Helper()
	c := good(t)
	b, err := c.payload()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refused wants bad_token, nothing beside it, and none of the token in what is said.
func (h *house) refused(t *testing.T, token string) {
	t.Helper()
	c, err := h.verifier.Verify(token, testNow(), expected())
	if grant.ReasonOf(err) != grant.BadToken || c != nil {
		t.Errorf("it is not refused as bad_token: %v, %v", c, err)
		return
	}
	for said := err; said != nil; said = errors.Unwrap(said) {
		for _, part := range strings.Split(token, ".") {
			if len(part) > 12 && strings.Contains(said.Error(), part) {
				t.Errorf("the refusal shows a part of the token: %v", said)
			}
		}
	}
}

func TestTokenHeadersOfOthersAreRefused(t *testing.T) {
	h := newHouse(t, ES256)
	head, body := h.header(), payload(t)
	if _, err := h.verifier.Verify(h.forge(t, head, body), testNow(), expected()); err != nil {
		t.Fatal("unchanged:", err)
	}
	with := func(more string) string { return strings.TrimSuffix(head, "}") + "," + more + "}" }
	for name, header := range map[string]string{
		"unknown crit":           with(`"crit":["exp"]`),
		"empty crit":             with(`"crit":[]`),
		"b64 false":              with(`"b64":false,"crit":["b64"]`),
		"jku":                    with(`"jku":"https://evil.example/jwks"`),
		"x5u":                    with(`"x5u":"https://evil.example/x"`),
		"x5c":                    with(`"x5c":["AA"]`),
		"jwk":                    with(`"jwk":{"kty":"EC"}`),
		"zip":                    with(`"zip":"DEF"`),
		"cty":                    with(`"cty":"JWT"`),
		"typ twice":              with(`"typ":"at+jwt"`),
		"TYP beside typ":         with(`"TYP":"JWT"`),
		"escaped name twice":     with(`"\u0074yp":"at+jwt"`),
		"typ JWT":                strings.Replace(head, "at+jwt", "JWT", 1),
		"typ in capitals":        strings.Replace(head, "at+jwt", "AT+JWT", 1),
		"typ with application":   strings.Replace(head, "at+jwt", "application/at+jwt", 1),
		"typ of a proof":         strings.Replace(head, "at+jwt", "dpop+jwt", 1),
		"no typ":                 strings.Replace(head, `,"typ":"at+jwt"`, "", 1),
		"typ no string":          strings.Replace(head, `"at+jwt"`, "1", 1),
		"alg none":               strings.Replace(head, "ES256", "none", 1),
		"alg in small letters":   strings.Replace(head, "ES256", "es256", 1),
		"alg of another family":  strings.Replace(head, "ES256", "RS256", 1),
		"alg HS256":              strings.Replace(head, "ES256", "HS256", 1),
		"alg EdDSA":              strings.Replace(head, "ES256", "EdDSA", 1),
		"alg ES384":              strings.Replace(head, "ES256", "ES384", 1),
		"no alg":                 strings.Replace(head, `"alg":"ES256",`, "", 1),
		"no kid":                 strings.Replace(head, fmt.Sprintf(`"kid":%q,`, h.key.Public().ID), "", 1),
		"empty kid":              strings.Replace(head, h.key.Public().ID, "", 1),
		"kid is a path":          strings.Replace(head, h.key.Public().ID, "../../dev/null", 1),
		"kid of another key":     strings.Replace(head, h.key.Public().ID, strings.Repeat("A", 43), 1),
		"kid in another case":    strings.Replace(head, h.key.Public().ID, swapCase(h.key.Public().ID), 1),
		"something after":        head + "{}",
		"a list":                 "[" + head + "]",
		"not UTF-8":              with("\"a\":\"\xff\""),
		"half a character":       with(`"a":"\ud800"`),
		"a control character":    with("\"a\":\"\n\""),
		"nested beyond measure":  with(`"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)),
		"more members than read": with(strings.TrimSuffix(manyMembers(100), ",")),
	} {
		t.Run(name, func(t *testing.T) { h.refused(t, h.forge(t, header, body)) })
	}
}

func swapCase(s string) string {
	if up := strings.ToUpper(s); up != s {
		return up
	}
	return strings.ToLower(s)
}

func manyMembers(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `"m%d":1,`, i)
	}
	return out.String()
}

func TestTokenClaimsThatCanBeReadTwoWaysAreRefused(t *testing.T) {
	h := newHouse(t, ES256)
	body := payload(t)
	with := func(more string) string { return strings.TrimSuffix(body, "}") + "," + more + "}" }
	change := func(from, to string) string {
		if !strings.Contains(body, from) {
			t.Fatalf("no %s in %s", from, body)
		}
		return strings.Replace(body, from, to, 1)
	}
	exp, iat := fmt.Sprintf(`"exp":%d`, testNow().Add(MaxLife).Unix()), fmt.Sprintf(`"iat":%d`, testNow().Unix())
	cut := func(name string) string { // one member with a string value
		_, rest, _ := strings.Cut(body, `"`+name+`":"`)
		value, _, _ := strings.Cut(rest, `"`)
		return change(`"`+name+`":"`+value+`",`, "")
	}
	for name, text := range map[string]string{
		"SUB beside sub":              with(`"SUB":"user:idp:admin"`),
		"EXP beside exp":              with(`"EXP":9000000000`),
		"sub twice":                   with(`"sub":"user:idp:admin"`),
		"exp twice":                   with(exp),
		"exp twice, escaped":          with(strings.Replace(exp, "exp", `\u0065xp`, 1)),
		"jkt twice in cnf":            change(`"cnf":{`, `"cnf":{"jkt":"`+strings.Repeat("A", 43)+`",`),
		"a name twice in details":     change(`"name":"charges.retrieve"`, `"name":"charges.retrieve","name":"payouts.create"`),
		"a name twice in a value":     change(`"value":"5000"`, `"value":"5000","value":"9000"`),
		"exp a string":                change(exp, fmt.Sprintf(`"exp":"%d"`, testNow().Add(MaxLife).Unix())),
		"exp with a fraction":         change(exp, exp+".5"),
		"exp with an exponent":        change(exp, `"exp":1e300`),
		"exp at 2^53":                 change(exp, `"exp":9007199254740992`),
		"exp beyond int64":            change(exp, `"exp":99999999999999999999`),
		"exp zero":                    change(exp, `"exp":0`),
		"exp negative":                change(exp, `"exp":-1`),
		"exp null":                    change(exp, `"exp":null`),
		"exp a list":                  change(exp, `"exp":[1]`),
		"no exp":                      change(exp+",", ""),
		"no iat":                      change(iat+",", ""),
		"iat a string":                change(iat, fmt.Sprintf(`"iat":"%d"`, testNow().Unix())),
		"iat in the future":           change(iat, fmt.Sprintf(`"iat":%d`, testNow().Unix()+6)),
		"a life over five minutes":    change(iat, fmt.Sprintf(`"iat":%d`, testNow().Unix()-1)),
		"an end before the beginning": change(iat, fmt.Sprintf(`"iat":%d`, testNow().Add(MaxLife).Unix()+1)),
		"no sub":                      cut("sub"),
		"no aud":                      cut("aud"),
		"no jti":                      cut("jti"),
		"no client_id":                cut("client_id"),
		"no txn":                      cut("txn"),
		"no grant":                    cut("urn:mayfly:grant"),
		"no gen":                      change(`,"urn:mayfly:gen":3`, ""),
		"two audiences":               change(`"aud":"`+testAudience+`"`, `"aud":["`+testAudience+`","https://wiki.acme.example"]`),
		"no audience in a list":       change(`"aud":"`+testAudience+`"`, `"aud":[]`),
		"an audience of null":         change(`"aud":"`+testAudience+`"`, `"aud":null`),
		"an audience of audiences":    change(`"aud":"`+testAudience+`"`, `"aud":[["`+testAudience+`"]]`),
		"another issuer":              change(`"iss":"`+testIssuer+`"`, `"iss":"`+testIssuer+`/"`),
		"an issuer in capitals":       change(`"iss":"`+testIssuer+`"`, `"iss":"https://MAYFLY.acme.example"`),
		"no issuer":                   cut("iss"),
		"sub is an object":            change(`"sub":"user:idp:3f1c"`, `"sub":{}`),
		"sub is e-mail":               change(`"sub":"user:idp:3f1c"`, `"sub":"alice@acme.example"`),
		"an act with an end":          change(`"act":{`, `"act":{"exp":9000000000,`),
		"act is a list":               change(`"act":{`, `"act":[],"x":{`),
		"details of another kind":     change(`"urn:mayfly:stripe"`, `"urn:other:stripe"`),
		"details elsewhere":           change(`"locations":["`+testAudience+`"]`, `"locations":["https://wiki.acme.example"]`),
		"details everywhere":          change(`"locations":["`+testAudience+`"],`, ""),
		"an unknown comparison":       change(`"op":"max"`, `"op":"near"`),
		"a value of another type":     change(`"type":"minor_units","value":"5000"`, `"type":"string","value":"5000"`),
		"a constraint on nothing":     change(`"attribute":"amount"`, `"attribute":""`),
		"an unknown claim":            with(`"scope":"admin"`),
		"nbf":                         with(`"nbf":1`),
		"something after":             body + "x",
	} {
		t.Run(name, func(t *testing.T) { h.refused(t, h.forge(t, h.header(), text)) })
	}
	one := h.forge(t, h.header(), change(`"aud":"`+testAudience+`"`, `"aud":["`+testAudience+`"]`))
	if _, err := h.verifier.Verify(one, testNow(), expected()); err != nil {
		t.Error("one audience in a list:", err)
	}
}

func TestTokenIsBoundExactlyOnce(t *testing.T) {
	h := newHouse(t, ES256)
	body := payload(t)
	_, rest, _ := strings.Cut(body, `"cnf":{`)
	inside, _, _ := strings.Cut(rest, "}")
	a := strings.Repeat("A", 43)
	for name, cnf := range map[string]string{
		"to nothing":          "",
		"twice":               inside + `,"x5t#S256":"` + a + `"`,
		"to zero":             `"jkt":"` + a + `"`,
		"by its whole key":    `"jwk":{"kty":"EC"}`,
		"by a kid":            `"kid":"x"`,
		"to half a hash":      `"jkt":"AAAA"`,
		"to a padded hash":    strings.Replace(inside, `="`, `"`, 1) + `,"x":"="`,
		"in another alphabet": `"jkt":"` + strings.Repeat("+", 43) + `"`,
		"with unused bits":    `"jkt":"` + strings.Repeat("B", 43) + `"`,
	} {
		t.Run(name, func(t *testing.T) { h.refused(t, h.forge(t, h.header(), strings.Replace(body, inside, cnf, 1))) })
	}
	h.refused(t, h.forge(t, h.header(), strings.Replace(body, `"cnf":{`+inside+"},", "", 1)))
}

func TestTokenTextHasOneForm(t *testing.T) {
	h := newHouse(t, ES256)
	token := h.sign(t, good(t))
	head, rest, _ := strings.Cut(token, ".")
	body, tail, _ := strings.Cut(rest, ".")
	last := map[byte]byte{'A': 'B', 'Q': 'R', 'g': 'h', 'w': 'x'} // 64 bytes leave four bits unused
	for name, text := range map[string]string{
		"empty":                           "",
		"two segments":                    head + "." + body,
		"four segments":                   token + ".",
		"no signature":                    head + "." + body + ".",
		"no header":                       "." + body + "." + tail,
		"dots alone":                      strings.Repeat(".", MaxSize),
		"longer than is read":             token + strings.Repeat("A", MaxSize),
		"a line end in a segment":         head + "." + body[:9] + "\n" + body[9:] + "." + tail,
		"a line end in the signature":     head + "." + body + "." + tail[:9] + "\r\n" + tail[9:],
		"padded":                          token + "==",
		"another last character":          token[:len(token)-1] + string(last[token[len(token)-1]]),
		"space around":                    " " + token,
		"the other alphabet":              strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
		"signature of none":               enc(strings.Replace(h.header(), "ES256", "none", 1)) + "." + body + ".",
		"signature of zeros":              head + "." + body + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"signature in ASN.1":              head + "." + body + "." + base64.RawURLEncoding.EncodeToString(der(t, h, head+"."+body)),
		"signature cut":                   token[:len(token)-4],
		"HMAC with the public key":        hs256(t, h, body),
		"another payload, same signature": head + "." + enc(payload(t)) + "." + tail,
	} {
		t.Run(name, func(t *testing.T) { h.refused(t, text) })
	}
	if _, err := h.verifier.Verify(token, testNow(), expected()); err != nil {
		t.Error(err)
	}
}

func enc(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func der(t *testing.T, h *house, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	b, err := ecdsa.SignASN1(rand.Reader, h.key.k.signer.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hs256(t *testing.T, h *house, body string) string {
	t.Helper()
	key, err := h.key.Public().JWK()
	if err != nil {
		t.Fatal(err)
	}
	input := enc(strings.Replace(h.header(), "ES256", "HS256", 1)) + "." + body
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestTokenKeysAreCheckedOnLoad: golang-jwt looks at neither curve nor size.
func TestTokenKeysAreCheckedOnLoad(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, ES256)
	ours := h.key.Public()
	for name, k := range map[string]PublicKey{
		"P-384":               {ID: ours.ID, Alg: ES256, Key: &p384.PublicKey},
		"RSA of 1024 bits":    {ID: ours.ID, Alg: RS256, Key: &small.PublicKey},
		"an EC key for RS256": {ID: ours.ID, Alg: RS256, Key: ours.Key},
		"a key for HS256":     {ID: ours.ID, Alg: "HS256", Key: ours.Key},
		"a secret":            {ID: ours.ID, Alg: ES256, Key: []byte("secret")},
		"another's id":        {ID: strings.Repeat("A", 43), Alg: ES256, Key: ours.Key},
		"no key":              {},
	} {
		if set, err := NewKeySet([]PublicKey{k}); err == nil || set != nil {
			t.Errorf("%s is taken into a set", name)
		}
	}
	if _, err := NewKeySet([]PublicKey{ours, ours}); err == nil {
		t.Error("a key stands twice")
	}
}

// TestTokenOfARemovedKeyIsForgotten: what was verified and is remembered counts for
// nothing once its key is gone, and again when it is back.
func TestTokenOfARemovedKeyIsForgotten(t *testing.T) {
	h := newHouse(t, ES256)
	token := h.sign(t, good(t))
	for range 2 {
		if _, err := h.verifier.Verify(token, testNow(), expected()); err != nil {
			t.Fatal(err)
		}
	}
	other, err := GenerateKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	h.trust(t, other.Public())
	h.refused(t, token)
	h.trust(t)
	h.refused(t, token)
	h.keys = nil
	h.refused(t, token)
	h.trust(t, other.Public(), h.key.Public())
	if _, err := h.verifier.Verify(token, testNow(), expected()); err != nil {
		t.Error(err)
	}
}

// TestTokenInMemoryIsAskedEverythingAgain: a remembered token is for its audience, its
// holder and its time alone.
func TestTokenInMemoryIsAskedEverythingAgain(t *testing.T) {
	h := newHouse(t, ES256)
	token := h.sign(t, good(t))
	if _, err := h.verifier.Verify(token, testNow(), expected()); err != nil {
		t.Fatal(err)
	}
	end := testNow().Add(MaxLife)
	for name, c := range map[string]struct {
		at     time.Time
		want   Expect
		reason grant.Reason
	}{
		"just before its end":    {end.Add(-1), expected(), ""},
		"at its end":             {end, expected(), grant.Ended},
		"long after":             {end.Add(time.Hour), expected(), grant.Ended},
		"5 s before its time":    {testNow().Add(-5 * time.Second), expected(), ""},
		"5 s and more before":    {testNow().Add(-5*time.Second - 1), expected(), grant.BadToken},
		"no time":                {time.Time{}, expected(), grant.BadToken},
		"elsewhere":              {testNow(), Expect{Audience: testAudience + "/", Presenter: bound()}, grant.WrongAudience},
		"by a certificate":       {testNow(), Expect{Audience: testAudience, Presenter: Confirmation{X5T: bound().JKT}}, grant.TokenNotBound},
		"by both":                {testNow(), Expect{Audience: testAudience, Presenter: Confirmation{X5T: bound().JKT, JKT: bound().JKT}}, grant.TokenNotBound},
		"nothing expected":       {testNow(), Expect{}, grant.WrongAudience},
		"where short ones count": {testNow(), Expect{Audience: testAudience, Presenter: bound(), MaxLife: time.Minute}, grant.BadToken},
	} {
		if got, err := h.verifier.Verify(token, c.at, c.want); grant.ReasonOf(err) != c.reason || (got == nil) != (err != nil) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}
