package audit

import (
	"bytes"
	"encoding/json"
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

// TestTheShortWayIsTaken: records of every day need no parser of all JSON.
func TestTheShortWayIsTaken(t *testing.T) {
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
