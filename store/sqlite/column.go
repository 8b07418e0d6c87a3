package sqlite

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
)

// Each kind of column has a writer (a value or a driver.Valuer) and a reader (a
// sql.Scanner). A reader that meets what no writer writes is an error: a row that
// was damaged never turns into a value that permits.

// micros writes a time as microseconds, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

type scanner func(src any) error

func (f scanner) Scan(src any) error { return f(src) }

func number(src any, f func(int64)) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("want an integer, got %T", src)
	}
	f(n)
	return nil
}

func asTime(dst *time.Time) sql.Scanner {
	return scanner(func(src any) error {
		return number(src, func(n int64) {
			*dst = time.Time{}
			if n != 0 {
				*dst = time.UnixMicro(n).UTC()
			}
		})
	})
}

func asDuration(dst *time.Duration) sql.Scanner {
	return scanner(func(src any) error {
		return number(src, func(n int64) { *dst = time.Duration(n) * time.Microsecond })
	})
}

func asSeq(dst *uint64) sql.Scanner {
	return scanner(func(src any) error { return number(src, func(n int64) { *dst = uint64(n) }) })
}

// seq writes a sequence number, which SQLite keeps in 63 bits.
type seq uint64

func (s seq) Value() (driver.Value, error) {
	if s > math.MaxInt64 {
		return nil, fmt.Errorf("sequence number %d is too large", uint64(s))
	}
	return int64(s), nil
}

func asText(dst encoding.TextUnmarshaler) sql.Scanner {
	return scanner(func(src any) error {
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want text, got %T", src)
		}
		return dst.UnmarshalText([]byte(s))
	})
}

// parsed reads text by its parser; empty text is the zero value.
func parsed[T any](dst *T, parse func(string) (T, error)) sql.Scanner {
	return scanner(func(src any) (err error) {
		var zero T
		*dst = zero
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want text, got %T", src)
		}
		if s != "" {
			*dst, err = parse(s)
		}
		return err
	})
}

// parsedBlob reads bytes by their parser.
func parsedBlob[T any](dst *T, parse func([]byte) (T, error)) sql.Scanner {
	return scanner(func(src any) (err error) {
		b, ok := src.([]byte)
		if !ok {
			return fmt.Errorf("want bytes, got %T", src)
		}
		*dst, err = parse(b)
		return err
	})
}

// nullable is the text of an id that may be none, as NULL.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// ifText reads a nullable text.
func ifText(dst encoding.TextUnmarshaler) sql.Scanner {
	return scanner(func(src any) error {
		if src == nil {
			return dst.UnmarshalText(nil)
		}
		return asText(dst).Scan(src)
	})
}

// blob writes bytes; none are an empty blob, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func asHash(dst *[32]byte) sql.Scanner {
	return scanner(func(src any) error {
		b, ok := src.([]byte)
		if !ok || len(b) != len(dst) {
			return fmt.Errorf("want 32 bytes, got %T of %d", src, len(b))
		}
		copy(dst[:], b)
		return nil
	})
}

// hashIf writes a hash that may be none, as an empty blob.
func hashIf(h [32]byte) []byte {
	if h == [32]byte{} {
		return []byte{}
	}
	return h[:]
}

// ifHash reads what hashIf wrote.
func ifHash(dst *[32]byte) sql.Scanner {
	return scanner(func(src any) error {
		if b, ok := src.([]byte); ok && len(b) == 0 {
			*dst = [32]byte{}
			return nil
		}
		return asHash(dst).Scan(src)
	})
}

// asInstance reads what Instance.String wrote.
func asInstance(dst *feed.Instance) sql.Scanner {
	return scanner(func(src any) error {
		text, _ := src.(string)
		sidecar, run, ok := strings.Cut(text, "#")
		if !ok {
			return fmt.Errorf("want an instance, got %T %v", src, src)
		}
		*dst = feed.Instance{Sidecar: sidecar, Run: run}
		return nil
	})
}

// object writes a value as JSON: keys sorted, no blanks, nothing escaped for HTML.
type object struct{ v any }

func (o object) Value() (driver.Value, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o.v); err != nil {
		return nil, err
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// asObject reads what object wrote. A key that this binary does not know is an
// error: a newer one may have narrowed something by it.
func asObject(dst any) sql.Scanner {
	return scanner(func(src any) error {
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want JSON text, got %T", src)
		}
		d := json.NewDecoder(bytes.NewReader([]byte(s)))
		d.DisallowUnknownFields()
		return d.Decode(dst)
	})
}

// marks returns n question marks for an INSERT.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// limitOf is the number of rows of a list that was asked for n of them.
func limitOf(n int) int {
	if n <= 0 {
		return 100
	}
	return n
}
