package proof

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// exactNames reports, as nil, that every member of the JSON in b is named in lower
// case letters, digits and _, but for what stands in the members free.
// encoding/json takes "App" and "operation\u017f" for app and operations, other
// readers do not: they would see one thing in the same signed bytes, and this
// package another.
func exactNames(b []byte, free ...string) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	return exactIn(v, free)
}

func exactIn(v any, free []string) error {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if strings.ContainsFunc(name, notPlain) {
				return fmt.Errorf("a member named %.64q", name)
			}
			if slices.Contains(free, name) {
				continue
			}
			if err := exactIn(inner, free); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := exactIn(inner, free); err != nil {
				return err
			}
		}
	}
	return nil
}

func notPlain(r rune) bool {
	return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}
