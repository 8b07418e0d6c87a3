package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Digest returns the hex SHA-256 over the canonical JSON list [[path, hex SHA-256
// of the file]], sorted bytewise by path (contracts §6).
func Digest(files map[string][]byte) string {
	sum := sha256.Sum256(Manifest(files))
	return hex.EncodeToString(sum[:])
}

// Manifest returns the list of which Digest is the SHA-256: kept beside the files, it
// says which of them is another one by now.
func Manifest(files map[string][]byte) []byte {
	list := make([]string, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256(files[name])
		list = append(list, "["+jsonString(name)+","+jsonString(hex.EncodeToString(sum[:]))+"]")
	}
	return []byte("[" + strings.Join(list, ",") + "]")
}

// jsonString writes a string as RFC 8785 §3.2.2.2 does. Bytes that are not UTF-8
// become U+FFFD.
func jsonString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= 0x20:
			b.WriteRune(r)
		case strings.ContainsRune("\b\t\n\f\r", r):
			b.WriteByte('\\')
			b.WriteByte("btn_fr"[r-'\b'])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// jsonObject writes members, whose values are JSON already, sorted by the UTF-16
// units of their names (RFC 8785 §3.2.3).
func jsonObject(members map[string]string) string {
	names := slices.SortedFunc(maps.Keys(members), func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	for i, name := range names {
		names[i] = jsonString(name) + ":" + members[name]
	}
	return "{" + strings.Join(names, ",") + "}"
}

func jsonList(items []string) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = jsonString(s)
	}
	return "[" + strings.Join(out, ",") + "]"
}
