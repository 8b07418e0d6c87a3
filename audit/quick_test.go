package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzQuickCanonical holds the short way to the long one: it takes nothing that a
// parser of all JSON would change or refuse.
func FuzzQuickCanonical(f *testing.F) {
	for _, b := range []string{
		`{}`, `{"a":"b","c":[true,false,null,{"d":"é"}]}`, `{"b":"","a":""}`, `{"a":"","a":""}`, `{"a":1}`, `{"a":"\n"}`, `{"a":" "}`,
		`{"":""}`, `{"é":""}`, `{"a": ""}`, `{"a":""}x`, `{"a":"` + "\x7f" + `"}`, "{\"a\":\"\u2028\"}", `[]`, `["a",]`, `{,}`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !quickCanonical(b) {
			return
		}
		wrapped := []byte(`{"a":` + string(b) + `}`) // the other one wants an object or a list
		long, err := transform(wrapped)
		if err != nil || !bytes.Equal(long, wrapped) || hasNumber(long) {
			t.Fatalf("%q is taken on the short way; on the long one it is %q (%v)", b, long, err)
		}
	})
}

// FuzzQuickRecord holds the short way of reading a record to the long one.
func FuzzQuickRecord(f *testing.F) {
	r := Record{ID: "rec_01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: TypeActionIntent, Node: "spiffe://acme.example/gw#00", Seq: 7, Subject: "act_1"}
	for _, body := range []string{`{}`, `{"a":"b"}`, `{"a":{"b":["c"]}}`} {
		r.Body = json.RawMessage(body)
		f.Add(r.assemble([]byte(body)))
	}
	for _, seq := range []string{"007", "", "-1", "18446744073709551616"} {
		r.Body = json.RawMessage(`{}`)
		f.Add(bytes.Replace(r.assemble([]byte(`{}`)), []byte(`"seq":"7"`), []byte(`"seq":"`+seq+`"`), 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := quickRecord(b)
		if !ok {
			return
		}
		body, err := transform(r.Body.(json.RawMessage))
		if err != nil || hasNumber(body) || !bytes.Equal(r.assemble(body), b) {
			t.Fatalf("%q is read on the short way, and is not what is written for it (%v)", b, err)
		}
	})
}

// everyday are bodies that are read on the short way, with all that can be in them.
func everyday() []any {
	at := At(time.Date(2026, 11, 30, 23, 59, 59, 999999000, time.UTC))
	try := Try{
		Action: "act_1", Token: "tok_1", Principal: "p_1", Act: []string{"spiffe://acme.example/a", "b"}, App: "stripe",
		Operation: "refunds.create", Resource: "ch_1", Attributes: map[string]Attr{"amount": {Value: "42.00"}, "note": {HMAC: "é"}, "": {}}, Class: "money",
		Ask:   Ask{Certificate: SHA256([]byte("c")), Session: "ses_1", Method: "POST", Authority: "a", Path: SHA256([]byte("p")), Body: SHA256(nil)},
		Epoch: 1, Revision: 1<<64 - 1, FreshnessMS: 400, Deadline: at, Resolved: map[string]Attr{"customer": {Value: "cus_1"}}, Trace: "ab",
	}
	return []any{
		&Intent{}, &Intent{Grant: "grt_1", Try: try}, &Denied{Denial: "den_1", Code: "scope", Try: try},
		&Outcome{Action: "act_1", Result: ResultSent, Status: 200, Bytes: 1<<63 - 1}, &Outcome{Reason: "r", EndedBy: "e", UpstreamID: "u"},
		&Rebound{Action: "act_1", From: "grt_1", Grant: "grt_2", Epoch: 1, Revision: 2, Deadline: at},
	}
}

// FuzzQuickBody holds the short way of reading a body to the long one.
func FuzzQuickBody(f *testing.F) {
	for _, v := range everyday() {
		b, err := encodeBody(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		for _, change := range [][2]string{
			{`{"`, `{"0":"","`}, {`{"`, `{ "`}, {`"}`, `","z":""}`}, {`"400"`, `"-400"`}, {`"200"`, `"0200"`}, {`"1"`, `"x"`}, {`"1"`, `1`}, {`act_1`, `act_\u0031`},
			{`tok`, "\xff"}, {`11-30`, `11-31`}, {`23:59:59`, `24:00:00`}, {`.999999Z`, `.999999+`}, {`"é"`, `null`}, {`"note"`, `"é"`}, {`["`, `[["`}, {`e3b0c442`, `E3B0C442`}, {`}`, `}x`},
			{`9223372036854775807`, `9223372036854775808`}, {`"class"`, `"CLASS"`}, {`"path"`, `"body"`},
		} {
			f.Add([]byte(strings.Replace(string(b), change[0], change[1], 1)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, of := range everyday() {
			kind := reflect.TypeOf(of).Elem()
			short, long := reflect.New(kind).Interface(), reflect.New(kind).Interface()
			if !quickBody(b, short) { // what is read on the long way then shows no trace of it
				whole := reflect.New(kind).Interface()
				got, want := Record{Body: json.RawMessage(b)}.Into(whole), longBody(b, long)
				if (got == nil) != (want == nil) || want == nil && !reflect.DeepEqual(whole, long) {
					t.Fatalf("%q is read as %+v (%v), and as %+v (%v) on the long way alone", b, whole, got, long, want)
				}
				continue
			}
			if err := longBody(b, long); err != nil || !reflect.DeepEqual(short, long) {
				t.Fatalf("%q is read as %+v on the short way, and as %+v (%v) on the long one", b, short, long, err)
			}
		}
	})
}

// FuzzQuickStamp holds the short way of reading a time to the library's.
func FuzzQuickStamp(f *testing.F) {
	for _, s := range []string{
		"2026-11-30T23:59:59.999999Z", "2026-02-29T00:00:00.000000Z", "2024-02-29T00:00:00.000000Z", "2026-11-31T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z",
		"9999-12-31T23:59:59.999999Z", "2026-00-10T00:00:00.000000Z", "2026-13-10T00:00:00.000000Z", "2026-01-00T00:00:00.000000Z", "2026-01-01T24:00:00.000000Z",
		"2026-01-01T00:60:00.000000Z", "2026-01-01T00:00:60.000000Z", "2026-01-01 00:00:00.000000Z", "2026-01-01T00:00:00,000000Z", "2026-01-01T00:00:00.00000-Z", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := quickStamp(s)
		if long, err := time.Parse(stampLayout, s); ok && (err != nil || long != at || Stamp(at) != s) {
			t.Fatalf("%q is read as %v on the short way, and as %v (%v) by the library", s, at, long, err)
		}
	})
}

// TestTheShortWayIsTaken: records of every day need no parser of all JSON.
func TestTheShortWayIsTaken(t *testing.T) {
	for _, v := range everyday() {
		if b, err := encodeBody(v); err != nil || !quickBody(b, reflect.New(reflect.TypeOf(v).Elem()).Interface()) {
			t.Errorf("not read on the short way: %s (%v)", b, err)
		}
	}
	b, err := Encode(Record{
		ID: "rec_01ARZ3NDEKTSV4RRFFQ69G5FAV", Type: TypeActionOutcome, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Node: "gw", Seq: 3, Subject: "act_1",
		Body: Outcome{Action: "act_1", Result: ResultSent, Status: 200, Bytes: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := quickRecord(b); !ok {
		t.Errorf("not read on the short way: %s", b)
	}
}
