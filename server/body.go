package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/api"
)

// readJSON reads the one JSON object that a body must be, of type v and nothing
// beside it: unknown and repeated keys are refused by name.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	return readJSONOf(w, r, v, api.MaxBody, "64 KiB")
}

// readJSONOf is readJSON of a body of another size.
func readJSONOf(w http.ResponseWriter, r *http.Request, v any, most int64, words string) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || len(r.Header.Values("Content-Type")) > 1 {
		p := problem(http.StatusUnsupportedMediaType, codeContentType, "Not JSON", "the body must be application/json")
		p.Allowed = []string{"application/json"}
		return p
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return problem(http.StatusUnsupportedMediaType, codeContentType, "Not plain", "the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return problem(http.StatusRequestEntityTooLarge, codeTooLarge, "Too large", "a body has at most "+words)
	}
	if err != nil {
		return badJSON("it ended early")
	}
	if !utf8.Valid(body) {
		return badJSON("it is not UTF-8")
	}
	if err := noRepeats(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badJSON(sayJSON(err))
	}
	return nil
}

func badJSON(why string) *api.Problem {
	return problem(http.StatusBadRequest, codeBadJSON, "The body cannot be understood", "the body is not the JSON object that belongs here: "+why)
}

// sayJSON says what is wrong without quoting values.
func sayJSON(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return clip(kind.Field) + " must be " + kind.Type.String()
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return "unknown field " + clip(name)
	}
	return "it does not parse"
}

// noRepeats refuses a key that stands twice in one object, also in another case:
// the decoder would take both for one. It also refuses what is no single object.
func noRepeats(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	first, err := d.Token()
	if err != nil || first != json.Delim('{') {
		return badJSON("want one object")
	}
	if err := uniqueKeys(d, 1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badJSON("something follows the object")
	}
	return nil
}

// maxDepth is how deep the bodies of the API may nest; they need two.
const maxDepth = 4

// uniqueKeys reads the rest of an object whose brace was read.
func uniqueKeys(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return badJSON("it nests too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return badJSON("it does not parse")
		}
		folded := name
		if depth == 1 { // below are names of parameters, which have a case
			folded = strings.ToLower(name)
		}
		if seen[folded] {
			return badJSON("field " + clip(name) + " is there twice")
		}
		seen[folded] = true
		if err := skipValue(d, depth); err != nil {
			return err
		}
	}
	_, err := d.Token()
	if err != nil {
		return badJSON("it does not parse")
	}
	return nil
}

func skipValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return badJSON("it does not parse")
	}
	switch t {
	case json.Delim('{'):
		return uniqueKeys(d, depth+1)
	case json.Delim('['):
		if depth >= maxDepth {
			return badJSON("it nests too deep")
		}
		for d.More() {
			if err := skipValue(d, depth+1); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return badJSON("it does not parse")
		}
	}
	return nil
}

// noBody refuses a body where none belongs.
func noBody(r *http.Request) error {
	var one [1]byte
	if n, _ := r.Body.Read(one[:]); n > 0 {
		return badJSON("there must be none")
	}
	return nil
}
