package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The layout of an export, all of it checkable with sha256sum and a JSON reader:
//
//	key                            the verifier key, one line
//	checkpoint                     the signed note over the leaves
//	leaves/000000001000.jsonl      leaves 1000 to 1999, one canonical record a line
//	leaves/000000001000.hashes     their RFC 6962 leaf hashes, one a line, in hexadecimal
//	segments/<spool>.frames        the spool's anchored frames from seq 1, as shipped
//	segments/<spool>.hashes        the RFC 6962 leaf hashes of their payloads, one a line
//
// The .hashes files prove nothing. They let Verify say which entry was changed
// when the entries do not fit what is signed but the .hashes do.
const (
	keyFile        = "key"
	checkpointFile = "checkpoint"
	leavesDir      = "leaves"
	segmentsDir    = "segments"
	leavesPerFile  = 1000
	leavesExt      = ".jsonl"
	framesExt      = ".frames"
	hashesExt      = ".hashes"
)

func leavesFile(first int64, ext string) string {
	return filepath.Join(leavesDir, fmt.Sprintf("%012d%s", first, ext))
}

func spoolFile(spool, ext string) string { return filepath.Join(segmentsDir, spool+ext) }

// ExportSource is where an export comes from: a store, or a client of its API.
type ExportSource interface {
	// ReadLeaves returns the leaves with from ≤ index < to, all of them.
	ReadLeaves(ctx context.Context, from, to int64) ([][]byte, error)
	// Frames returns the frames of one anchored segment, as they were shipped.
	Frames(ctx context.Context, spool string, first, last uint64) ([]byte, error)
}

// ExportConfig is what Export needs. All fields are required.
type ExportConfig struct {
	Source     ExportSource
	Key        string // verifier key
	Checkpoint []byte // signed note; the export ends with its last leaf
}

// Export writes the record up to a checkpoint into dir, which must be empty or
// not be there yet. It proves nothing by itself: Verify does.
func Export(ctx context.Context, dir string, c ExportConfig) error {
	if c.Source == nil {
		return errors.New("export: no source")
	}
	v, err := NewVerifier(c.Key)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	head, err := v.Open(c.Checkpoint)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := prepareDir(dir); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	e := exporter{dir: dir, source: c.Source, written: map[string]uint64{}}
	for first := int64(0); first < head.Size; first += leavesPerFile {
		if err := e.leaves(ctx, first, min(first+leavesPerFile, head.Size)); err != nil {
			return fmt.Errorf("export: leaves from %d: %w", first, err)
		}
	}
	if err := e.write(keyFile, []byte(v.Key()+"\n")); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := e.write(checkpointFile, c.Checkpoint); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func prepareDir(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, leavesDir), filepath.Join(dir, segmentsDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if d != dir {
			continue
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			return errors.Join(fmt.Errorf("%s: want an empty folder", dir), err)
		}
	}
	return nil
}

type exporter struct {
	dir     string
	source  ExportSource
	written map[string]uint64 // spool → last seq in its file
}

func (e exporter) leaves(ctx context.Context, from, to int64) error {
	leaves, err := e.source.ReadLeaves(ctx, from, to)
	if err != nil {
		return err
	}
	if int64(len(leaves)) != to-from {
		return fmt.Errorf("%d leaves, not %d", len(leaves), to-from)
	}
	var lines, hashes bytes.Buffer
	for i, leaf := range leaves {
		if bytes.IndexByte(leaf, '\n') >= 0 {
			return fmt.Errorf("leaf %d is not canonical: it has a line break", from+int64(i))
		}
		lines.Write(leaf)
		lines.WriteByte('\n')
		fmt.Fprintln(&hashes, leafHash(leaf))
		if err := e.segment(ctx, leaf); err != nil {
			return fmt.Errorf("leaf %d: %w", from+int64(i), err)
		}
	}
	if err := e.write(leavesFile(from, leavesExt), lines.Bytes()); err != nil {
		return err
	}
	return e.write(leavesFile(from, hashesExt), hashes.Bytes())
}

// segment writes the frames that leaf anchors, if it anchors the next ones of a
// spool.
func (e exporter) segment(ctx context.Context, leaf []byte) error {
	r, err := Decode(leaf)
	if err != nil || r.Type != TypeSegmentAnchored {
		return nil // Verify names what is wrong with a leaf
	}
	var a Anchor
	if err := r.Into(&a); err != nil || !validID("spl_", a.Spool) || a.First != e.written[a.Spool]+1 {
		return nil
	}
	frames, err := e.source.Frames(ctx, a.Spool, a.First, a.Last)
	if err != nil {
		return fmt.Errorf("frames %d to %d of spool %s: %w", a.First, a.Last, a.Spool, err)
	}
	e.written[a.Spool] = a.Last
	var hashes bytes.Buffer
	for b := frames; len(b) > 0; {
		f, err := NextFrame(b)
		if err != nil {
			break
		}
		fmt.Fprintln(&hashes, leafHash(f.Payload))
		b = b[f.Size:]
	}
	if err := e.write(spoolFile(a.Spool, framesExt), frames); err != nil {
		return err
	}
	return e.write(spoolFile(a.Spool, hashesExt), hashes.Bytes())
}

// write appends to a file of the export.
func (e exporter) write(name string, b []byte) error {
	f, err := os.OpenFile(filepath.Join(e.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// readHashes reads a .hashes file. What is no hash is the zero Hash, which is
// that of nothing; a file that is not there is empty.
func readHashes(path string) []Hash {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []Hash
	for _, line := range lines(b) {
		var h Hash
		if err := h.UnmarshalText(line); err != nil {
			h = Hash{}
		}
		out = append(out, h)
	}
	return out
}

// lines splits at line breaks; the last one ends the last line.
func lines(b []byte) [][]byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}
