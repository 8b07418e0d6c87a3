package audit_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/audit"
)

func TestTilesRebuildTheTree(t *testing.T) {
	ctx, m := t.Context(), logOf(t, 600)
	get := func(path string) []byte {
		b, err := audit.Tile(ctx, m, 600, path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var leaves [][]byte
	for _, path := range []string{"/tile/entries/000", "/tile/entries/001", "/tile/entries/002.p/88"} {
		for b := get(path); len(b) > 0; {
			n := 2 + int(binary.BigEndian.Uint16(b))
			leaves = append(leaves, b[2:n])
			b = b[n:]
		}
	}
	if len(leaves) != 600 || string(leaves[599]) != string(m.Leaves[599]) {
		t.Fatalf("%d leaves", len(leaves))
	}
	level0, level1 := get("/tile/0/001"), get("/tile/1/000.p/2")
	if tlog.Hash(level0[32:64]) != tlog.RecordHash(m.Leaves[257]) {
		t.Error("leaf hash 257 is not in its tile")
	}
	if want := m.Hashes[tlog.StoredHashIndex(8, 1)]; tlog.Hash(level1[32:64]) != want {
		t.Error("level 1 does not hold the hash over 256 leaves")
	}
}

func TestTilePaths(t *testing.T) {
	for path, want := range map[string]error{
		"/tile/0/000":                       nil,
		"/tile/0/000.p/1":                   nil,
		"/tile/1/000.p/1":                   nil,
		"/tile/entries/001.p/44":            nil,
		"/tile/entries/001.p/45":            audit.ErrNoTile,
		"/tile/entries/001":                 audit.ErrNoTile,
		"/tile/1/000":                       audit.ErrNoTile,
		"/tile/2/000.p/1":                   audit.ErrNoTile,
		"/tile/63/000.p/1":                  audit.ErrNoTile,
		"/tile/7/x999/x999/999":             audit.ErrNoTile,
		"/tile/0/x999/x999/x999/x999/999":   audit.ErrNoTile,
		"/tile/0/x001/234":                  audit.ErrNoTile,
		"/tile/64/000":                      audit.ErrTilePath,
		"/tile/-1/000":                      audit.ErrTilePath,
		"/tile/data/000":                    audit.ErrTilePath,
		"/tile/0/0":                         audit.ErrTilePath,
		"/tile/00/000":                      audit.ErrTilePath,
		"/tile/0/x000/000":                  audit.ErrTilePath,
		"/tile/0/000.p/0":                   audit.ErrTilePath,
		"/tile/0/000.p/256":                 audit.ErrTilePath,
		"/tile/0/000.p/01":                  audit.ErrTilePath,
		"/tile/0/000/":                      audit.ErrTilePath,
		"tile/0/000":                        audit.ErrTilePath,
		"/tile/0/../0/000":                  audit.ErrTilePath,
		"/tile/entries/000.p/1?x":           audit.ErrTilePath,
		"/tile/0/x999/x999/x999/x999/x9/99": audit.ErrTilePath,
		"/checkpoint":                       audit.ErrTilePath,
		"":                                  audit.ErrTilePath,
	} {
		if _, err := audit.Tile(t.Context(), logOf(t, 300), 300, path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("/tile/entries/x001/234.p/7")
	f.Add("/tile/63/x999/x999/x999/x999/x999/x999/999")
	m := logOf(f, 10)
	f.Fuzz(func(t *testing.T, path string) {
		p, err := audit.ParseTilePath(path)
		if err == nil && p.String() != path {
			t.Fatalf("%q was read as %+v", path, p)
		}
		if b, err := audit.Tile(t.Context(), m, 10, path); err == nil && len(b) == 0 {
			t.Fatalf("%q is empty", path)
		}
	})
}
