package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxRecord is the size in bytes above which a record is refused: 60 KiB, so
// that one fits an entry of a tlog-tiles bundle. Larger parts go in by hash.
const MaxRecord = 60 << 10

const (
	recordVersion = 1
	maxField      = 512 // bytes of node and subject
)

// Record is one entry of the record, version 1 (contracts §5).
type Record struct {
	ID      string    // rec_ and 26 characters
	Type    Type      // one of the types of this package
	Time    time.Time // the sidecar's t, or the transaction's clock; kept to the microsecond
	Node    string    // the instance, or "mayflyd"
	Seq     uint64    // leaf: its index, set by Append; spool: from 1
	Subject string    // what it is about: a request, a grant, a p_ pseudonym, a spool; may be empty

	// Body is the type's own part: a struct or map that marshals to a JSON
	// object without a number in it; nil is the empty object. In a decoded
	// Record it is a json.RawMessage in canonical form; see Into and Map.
	Body any
}

// TooLargeError says that a record is over MaxRecord.
type TooLargeError struct {
	Type Type
	ID   string
	Size int // bytes
}

// Error names the size and what to do.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("record %s %s is %d bytes: the limit is %d; put the large part in by its hash",
		e.Type, e.ID, e.Size, MaxRecord)
}

// Encode returns r as canonical JSON. It fails on an unknown type, a number or
// a string that is not UTF-8 in the body, and with *TooLargeError.
func Encode(r Record) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	body, err := encodeBody(r.Body)
	if err != nil {
		return nil, fmt.Errorf("record %s %s: body: %w", r.Type, r.ID, err)
	}
	out := r.assemble(body)
	if len(out) > MaxRecord {
		return nil, &TooLargeError{Type: r.Type, ID: r.ID, Size: len(out)}
	}
	return out, nil
}

// Decode reads exactly what Encode writes: bytes that are not the canonical
// form of a known record (a key more, less, twice or in another case, another
// order, a number, blanks) are refused.
func Decode(b []byte) (Record, error) {
	r, err := decode(b)
	if err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}

func decode(b []byte) (Record, error) {
	if len(b) > MaxRecord {
		return Record{}, fmt.Errorf("%d bytes: the limit is %d", len(b), MaxRecord)
	}
	if r, ok := quickRecord(b); ok {
		return r, nil
	}
	if err := checkDepth(b); err != nil {
		return Record{}, err
	}
	var w struct {
		Body                               json.RawMessage
		ID, Node, Seq, Subject, Time, Type string
		V                                  json.RawMessage
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return Record{}, err
	}
	r := Record{ID: w.ID, Type: Type(w.Type), Node: w.Node, Subject: w.Subject, Body: w.Body}
	var err error
	if r.Time, err = ParseStamp(w.Time); err != nil {
		return Record{}, err
	}
	if r.Seq, err = strconv.ParseUint(w.Seq, 10, 64); err != nil {
		return Record{}, fmt.Errorf("seq %.40q: want a decimal number in a string", w.Seq)
	}
	if err := r.check(); err != nil {
		return Record{}, err
	}
	if len(w.Body) == 0 {
		return Record{}, errors.New("no body")
	}
	body, err := encodeBody(w.Body)
	if err != nil {
		return Record{}, fmt.Errorf("body: %w", err)
	}
	r.Body = json.RawMessage(body)
	if !bytes.Equal(r.assemble(body), b) {
		return Record{}, errors.New("not in canonical form, or with a key that is not of version 1")
	}
	return r, nil
}

// Into reads a decoded record's body into v, a pointer to the type's body
// struct. A key that v does not know is an error.
func (r Record) Into(v any) error {
	raw, ok := r.Body.(json.RawMessage)
	if !ok {
		return fmt.Errorf("record %s: only a decoded record's body can be read", r.ID)
	}
	if quickBody(raw, v) {
		return nil
	}
	if err := longBody(raw, v); err != nil {
		return fmt.Errorf("record %s %s: body: %w", r.Type, r.ID, err)
	}
	return nil
}

func longBody(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Map returns the body of any record as plain values: string, bool, nil, []any
// and map[string]any. It fails if the body would not encode.
func (r Record) Map() (map[string]any, error) {
	b, err := encodeBody(r.Body)
	if err != nil {
		return nil, fmt.Errorf("record %s: body: %w", r.ID, err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("record %s: body: %w", r.ID, err)
	}
	return m, nil
}

// Texts returns the body of any record flat, as texts: members of objects by a.b,
// of lists by their index. What is null is left out.
func (r Record) Texts() (map[string]string, error) {
	body, err := r.Map()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var add func(prefix string, v any)
	add = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, one := range v {
				add(strings.TrimPrefix(prefix+"."+key, "."), one)
			}
		case []any:
			for i, one := range v {
				add(prefix+"."+strconv.Itoa(i), one)
			}
		case nil:
		default:
			out[prefix] = fmt.Sprint(v)
		}
	}
	add("", body)
	return out, nil
}

func (r Record) check() error {
	if !validID("rec_", r.ID) {
		return fmt.Errorf("id %.40q: want rec_ and 26 characters", r.ID)
	}
	if r.Type.Where() == WhereNone {
		return fmt.Errorf("type %.40q is not known", r.Type)
	}
	if y := r.Time.UTC().Year(); y < 0 || y > 9999 {
		_, err := ParseStamp(Stamp(r.Time))
		return err
	}
	if r.Node == "" || !validField(r.Node) {
		return fmt.Errorf("node %.80q: want 1 to %d bytes of text", r.Node, maxField)
	}
	if !validField(r.Subject) {
		return fmt.Errorf("subject %.80q: want at most %d bytes of text", r.Subject, maxField)
	}
	return nil
}

func validField(s string) bool { return len(s) <= maxField && utf8.ValidString(s) }

// validID reports whether s is an id of contracts §1 with that prefix.
func validID(prefix, s string) bool {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != 26 || rest[0] > '7' {
		return false
	}
	return strings.Trim(rest, alphabet) == ""
}

func encodeBody(body any) ([]byte, error) {
	if body == nil {
		return []byte("{}"), nil
	}
	b, ok := body.(json.RawMessage)
	if !ok {
		var err error
		if b, err = marshal(body); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 && b[0] == '{' && quickCanonical(b) {
		return bytes.Clone(b), nil
	}
	out, err := transform(b)
	if err != nil {
		return nil, err
	}
	if out[0] != '{' {
		return nil, errors.New("want a JSON object")
	}
	if hasNumber(out) {
		return nil, errors.New("a number: every number must be a string")
	}
	return out, nil
}

// assemble writes the members in the order of RFC 8785 §3.2.3.
func (r Record) assemble(body []byte) []byte {
	out := make([]byte, 0, len(body)+len(r.Node)+len(r.Subject)+192)
	out = append(out, `{"body":`...)
	out = append(out, body...)
	out = appendMember(out, "id", r.ID)
	out = appendMember(out, "node", r.Node)
	out = appendMember(out, "seq", strconv.FormatUint(r.Seq, 10))
	out = appendMember(out, "subject", r.Subject)
	out = appendMember(out, "time", Stamp(r.Time))
	out = appendMember(out, "type", string(r.Type))
	out = append(out, `,"v":`...)
	out = strconv.AppendInt(out, recordVersion, 10)
	return append(out, '}')
}

func appendMember(dst []byte, key, value string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	dst = append(dst, '"', ':')
	return appendString(dst, value)
}
