package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/mayflyproxy/mayfly/audit"
)

func recordID(n int) string { return fmt.Sprintf("rec_%026d", n) }

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC) }

func login() audit.Record {
	return audit.Record{
		ID: recordID(1), Type: audit.TypeLogin, Time: start(), Node: "mayflyd", Seq: 7,
		Subject: "p_0123", Body: map[string]any{"b": true, "a": []any{"x", nil}},
	}
}

const loginText = `{"body":{"a":["x",null],"b":true},"id":"rec_00000000000000000000000001","node":"mayflyd",` +
	`"seq":"7","subject":"p_0123","time":"2026-03-01T12:00:00.123456Z","type":"login","v":1}`

func TestEncodeIsCanonical(t *testing.T) {
	b, err := audit.Encode(login())
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != loginText {
		t.Fatalf("got  %s\nwant %s", b, loginText)
	}
	hostile := login()
	hostile.Subject = "quote \" back \\ nul \x00 tab \t nl \n del \x7f sep \u2028 html <&> é 😀"
	hostile.Body = map[string]any{"k": hostile.Subject, "é": "1", "😀": "2", "\ufb33": "3"}
	if b, err = audit.Encode(hostile); err != nil {
		t.Fatal(err)
	}
	want, err := jcs.Transform(b)
	if err != nil || string(want) != string(b) {
		t.Fatalf("not as RFC 8785 writes it: %v\n%s\n%s", err, b, want)
	}
	r, err := audit.Decode(b)
	if err != nil || r.Subject != hostile.Subject {
		t.Fatalf("decode: %v %q", err, r.Subject)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*audit.Record)
		want   string
	}{
		{"no id", func(r *audit.Record) { r.ID = "" }, "rec_"},
		{"an id in lower case", func(r *audit.Record) { r.ID = "rec_0000000000000000000000000a" }, "rec_"},
		{"an unknown type", func(r *audit.Record) { r.Type = "login2" }, "not known"},
		{"no node", func(r *audit.Record) { r.Node = "" }, "node"},
		{"a long subject", func(r *audit.Record) { r.Subject = strings.Repeat("x", 513) }, "subject"},
		{"a year of five digits", func(r *audit.Record) { r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time"},
		{"a number", func(r *audit.Record) { r.Body = map[string]any{"n": 1} }, "number"},
		{"a number called v", func(r *audit.Record) { r.Body = map[string]any{"v": 1} }, "number"},
		{"a float deep down", func(r *audit.Record) { r.Body = map[string]any{"a": []any{map[string]any{"n": -0.5}}} }, "number"},
		{"a list", func(r *audit.Record) { r.Body = []string{"x"} }, "object"},
		{"bytes that are not UTF-8", func(r *audit.Record) { r.Body = map[string]any{"s": "a\xffb"} }, "UTF-8"},
		{"a node that is not UTF-8", func(r *audit.Record) { r.Node = "a\xff" }, "node"},
		{"a channel", func(r *audit.Record) { r.Body = make(chan int) }, "canonical"},
		{"too deep", func(r *audit.Record) {
			r.Body = json.RawMessage(`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`)
		}, "deeper"},
		{"a key twice", func(r *audit.Record) { r.Body = json.RawMessage(`{"a":"1","a":"2"}`) }, "uplicate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := login()
			tc.change(&r)
			if b, err := audit.Encode(r); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %s, %v; want an error with %q", b, err, tc.want)
			}
		})
	}
}

func TestEncodeNamesTheSizeOfALargeRecord(t *testing.T) {
	r := login()
	empty, err := audit.Encode(audit.Record{ID: r.ID, Type: r.Type, Time: r.Time, Node: r.Node, Body: map[string]any{"s": ""}})
	if err != nil {
		t.Fatal(err)
	}
	for _, extra := range []int{0, 1} {
		size := audit.MaxRecord + extra
		r := audit.Record{ID: r.ID, Type: r.Type, Time: r.Time, Node: r.Node,
			Body: map[string]any{"s": strings.Repeat("x", size-len(empty))}}
		_, err := audit.Encode(r)
		var large *audit.TooLargeError
		if extra == 0 && err != nil || extra == 1 && (!errors.As(err, &large) || large.Size != size) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}

func TestDecodeTakesOnlyCanonicalRecords(t *testing.T) {
	if r, err := audit.Decode([]byte(loginText)); err != nil || r.Seq != 7 || !r.Time.Equal(start().Truncate(time.Microsecond)) {
		t.Fatalf("a good record: %+v %v", r, err)
	}
	replace := func(old, with string) string { return strings.Replace(loginText, old, with, 1) }
	for name, text := range map[string]string{
		"nothing":                 "",
		"a blank":                 loginText + " ",
		"two records":             loginText + loginText,
		"a blank inside":          replace(`,"id"`, `, "id"`),
		"an unknown key":          replace(`,"v":1`, `,"v":1,"w":"x"`),
		"a key in another case":   replace(`"id"`, `"ID"`),
		"a key twice":             replace(`,"v":1`, `,"v":1,"v":1`),
		"another order":           `{"v":1,` + strings.TrimSuffix(loginText[1:], `,"v":1}`) + "}",
		"version 2":               replace(`"v":1`, `"v":2`),
		"version as a string":     replace(`"v":1`, `"v":"1"`),
		"version as a float":      replace(`"v":1`, `"v":1.0`),
		"no version":              replace(`,"v":1`, ``),
		"no body":                 replace(`"body":{"a":["x",null],"b":true},`, ``),
		"a number in the body":    replace(`"b":true`, `"b":1`),
		"keys of the body twice":  replace(`"b":true`, `"b":true,"b":true`),
		"keys of the body mixed":  replace(`{"a":["x",null],"b":true}`, `{"b":true,"a":["x",null]}`),
		"a body that is a list":   replace(`{"a":["x",null],"b":true}`, `[]`),
		"a needless escape":       replace(`"p_0123"`, `"p_\u0030123"`),
		"seq as a number":         replace(`"seq":"7"`, `"seq":7`),
		"seq with a zero":         replace(`"seq":"7"`, `"seq":"07"`),
		"seq below zero":          replace(`"seq":"7"`, `"seq":"-7"`),
		"seq over 64 bits":        replace(`"seq":"7"`, `"seq":"18446744073709551616"`),
		"time with an offset":     replace(`123456Z`, `123456+00:00`),
		"time in milliseconds":    replace(`.123456Z`, `.123Z`),
		"time in nanoseconds":     replace(`.123456Z`, `.123456000Z`),
		"time with a comma":       replace(`.123456Z`, `,123456Z`),
		"an unknown type":         replace(`"login"`, `"logon"`),
		"an id of another kind":   replace(`"rec_`, `"req_`),
		"bytes that are not text": replace("p_0123", "p_\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := audit.Decode([]byte(text)); err == nil {
				t.Fatalf("accepted as %+v", r)
			}
		})
	}
}

func TestBodiesSurviveTheRecord(t *testing.T) {
	intent := audit.Intent{Grant: "grt_1", Try: audit.Try{
		Action: "act_1", Principal: "spiffe://acme.example/ns/pay/sa/refunder", App: "stripe", Operation: "refunds.create",
		Attributes: map[string]audit.Attr{"amount": {Value: "4200"}, "email": {HMAC: "00"}}, Class: "money",
		Ask:   audit.Ask{Method: "POST", Authority: "stripe.acme.example", Path: audit.SHA256([]byte("/v1/refunds"))},
		Epoch: 1, Revision: 1 << 60, FreshnessMS: 17, Deadline: audit.At(start()),
	}}
	b, err := audit.Encode(audit.Record{ID: recordID(2), Type: audit.TypeActionIntent, Time: start(), Node: "n", Seq: 1, Body: intent})
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	var got audit.Intent
	if err := r.Into(&got); err != nil {
		t.Fatal(err)
	}
	if got.Revision != 1<<60 || got.Ask != intent.Ask || got.Attributes["amount"].Value != "4200" || got.FreshnessMS != 17 {
		t.Fatalf("got %+v", got)
	}
	if err := r.Into(new(audit.Outcome)); err == nil {
		t.Fatal("an intent was read as an outcome")
	}
	m, err := r.Map()
	if err != nil || m["revision"] != "1152921504606846976" {
		t.Fatalf("map: %v %v", m, err)
	}
}

func TestCanonicalJSONAllowsOnlyTheVersionAsNumber(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"v":1,"n":"2"}`:        true,
		`{"v":12}`:               true,
		`[["a","b"]]`:            true,
		`{"a":"1","v":1,"w":[]}`: true,
		`{"v":0}`:                false,
		`{"v":-1}`:               false,
		`{"v":1.5}`:              false,
		`{"v":1e30}`:             false,
		`{"n":1}`:                false,
		`{"a":{"v":1}}`:          false,
		`[1]`:                    false,
		`1`:                      false,
		`{"x\"v":1}`:             false,
		`{"v":[1]}`:              false,
		`{"a":"\"v\":","b":1}`:   false,
		`{"v":1,"v":1}`:          false,
	} {
		if _, err := audit.Canonicalize([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	b, err := audit.CanonicalJSON(struct {
		V int    `json:"v"`
		A string `json:"a"`
	}{1, "<\ufffd>\\ufffd"})
	if err != nil || string(b) != "{\"a\":\"<\ufffd>\\\\ufffd\",\"v\":1}" {
		t.Fatalf("%s %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(loginText))
	f.Add([]byte(`{"body":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := audit.Decode(b)
		if err != nil {
			return
		}
		again, err := audit.Encode(r)
		if err != nil || string(again) != string(b) {
			t.Fatalf("accepted %q, which encodes as %q, %v", b, again, err)
		}
	})
}
