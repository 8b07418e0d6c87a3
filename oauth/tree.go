package oauth

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// maxDepth is how deep authorization details may nest; they need seven.
const maxDepth = 8

var (
	errTwice = errors.New("a member is there twice")
	errDeep  = errors.New("it nests too deep")
	errMore  = errors.New("something follows the value")
)

// parseTree reads one JSON value with every member by its exact name, once. Values
// are map[string]any, []any, string, json.Number, bool and nil.
func parseTree(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := readTree(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errMore
	}
	return v, nil
}

func readTree(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, errDeep
	}
	if delim == '[' {
		return readList(d, depth)
	}
	return readObject(d, depth)
}

func readList(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := readTree(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()
	return out, err
}

func readObject(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if _, twice := out[name]; twice {
			return nil, errTwice
		}
		if out[name], err = readTree(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return out, err
}
