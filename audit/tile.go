package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight is that of C2SP tlog-tiles: 256 hashes or entries a tile.
const tileHeight = 8

// Errors of Tile and ParseTilePath.
var (
	// ErrTilePath: the path is not one of a tile. HTTP: 404.
	ErrTilePath = errors.New("not the path of a tile")
	// ErrNoTile: the log is too short for the tile. HTTP: 404.
	ErrNoTile = errors.New("no such tile yet")
)

// TilePath names a tile of the log.
type TilePath struct {
	Entries bool  // a bundle of entries, else hashes
	Level   int   // 0 for entries
	N       int64 // number within the level
	Width   int   // 1 to 256; 256 is a full tile
}

// ParseTilePath reads /tile/<L>/<N>[.p/<W>] and /tile/entries/<N>[.p/<W>], where
// N is in groups of three digits, all but the last with an x before them (C2SP
// tlog-tiles). Any other spelling is ErrTilePath.
func ParseTilePath(path string) (TilePath, error) {
	rest, ok := strings.CutPrefix(path, "/tile/")
	level, number, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || level == "data" {
		return TilePath{}, fmt.Errorf("%w: %.80q", ErrTilePath, path)
	}
	entries := level == "entries"
	if entries {
		level = "0"
	}
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s/%s", tileHeight, level, number))
	if err != nil || t.H != tileHeight || t.L < 0 || t.L > 63 {
		return TilePath{}, fmt.Errorf("%w: %.80q", ErrTilePath, path)
	}
	p := TilePath{Entries: entries, Level: t.L, N: t.N, Width: t.W}
	if p.String() != path {
		return TilePath{}, fmt.Errorf("%w: %.80q", ErrTilePath, path)
	}
	return p, nil
}

// String returns the path.
func (p TilePath) String() string {
	path := tlog.Tile{H: tileHeight, L: p.Level, N: p.N, W: p.Width}.Path()
	rest := strings.TrimPrefix(path, fmt.Sprintf("tile/%d/%d/", tileHeight, p.Level))
	if p.Entries {
		return "/tile/entries/" + rest
	}
	return fmt.Sprintf("/tile/%d/%s", p.Level, rest)
}

// leaves returns how many leaves the log needs for the tile to exist, and false
// if no log can have so many.
func (p TilePath) leaves() (int64, bool) {
	const limit = 1 << 62
	shift := uint(tileHeight * p.Level)
	if shift > 55 || p.N > limit>>(shift+tileHeight) {
		return 0, false
	}
	return (p.N<<tileHeight + int64(p.Width)) << shift, true
}

// Tile returns the content of the tile at path: hashes of 32 bytes, or entries
// each with its length in two bytes before it, big-endian. It fails with
// ErrTilePath or ErrNoTile. size is that of a signed checkpoint: what lies
// beyond it is not served.
func Tile(ctx context.Context, r Reader, size int64, path string) ([]byte, error) {
	p, err := ParseTilePath(path)
	if err != nil {
		return nil, err
	}
	if need, ok := p.leaves(); !ok || need > size {
		return nil, fmt.Errorf("%w: %s at size %d", ErrNoTile, path, size)
	}
	if err := checkSize(ctx, r, size); err != nil {
		return nil, fmt.Errorf("tile %s: %w", path, err)
	}
	if p.Entries {
		return entryBundle(ctx, r, p)
	}
	t := tlog.Tile{H: tileHeight, L: p.Level, N: p.N, W: p.Width}
	b, err := tlog.ReadTileData(t, hashReader(ctx, r))
	if err != nil {
		return nil, fmt.Errorf("tile %s: %w", path, err)
	}
	return b, nil
}

func entryBundle(ctx context.Context, r Reader, p TilePath) ([]byte, error) {
	from := p.N << tileHeight
	leaves, err := r.ReadLeaves(ctx, from, from+int64(p.Width))
	if err != nil {
		return nil, fmt.Errorf("tile %s: %w", p, err)
	}
	if len(leaves) != p.Width {
		return nil, fmt.Errorf("tile %s: %d leaves, not %d", p, len(leaves), p.Width)
	}
	var out []byte
	for _, leaf := range leaves {
		out = binary.BigEndian.AppendUint16(out, uint16(len(leaf))) // ≤ MaxRecord < 1<<16
		out = append(out, leaf...)
	}
	return out, nil
}
