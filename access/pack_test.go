package access_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
)

func TestFramesAreKeptPacked(t *testing.T) {
	w := newWorld(t)
	i, s, r := w.join("1"), newSpool(t), w.granted()
	bodies := make([]any, 50)
	for n := range bodies {
		_, bodies[n] = s.intent(r)
	}
	ask := s.segment(bodies...)
	if out, err := w.Source().Ingest(t.Context(), i, ask); err != nil || !out.GetAccepted() {
		t.Fatalf("%v, %v", out, err)
	}
	w.view(func(ctx context.Context, tx access.Tx) error {
		kept, err := tx.Spools().Segments(ctx, s.id, 1, 1)
		if err != nil || len(kept) != 1 {
			t.Fatalf("%v, %v", kept, err)
		}
		if frames, err := kept[0].Frames(); err != nil || !bytes.Equal(frames, ask.GetFrames()) {
			t.Errorf("%d bytes became %d: %v", len(ask.GetFrames()), len(frames), err)
		}
		if got, limit := len(kept[0].Packed), len(ask.GetFrames())/2; got > limit {
			t.Errorf("%d bytes are kept in %d", len(ask.GetFrames()), got)
		}
		return nil
	})
}

// A segment of before frames were packed is read as it stands, and whoever owns the
// database cannot have mayflyd read what never fitted into a message.
func TestWhatIsKeptMayBeOldOrDamaged(t *testing.T) {
	s := newSpool(t)
	_, intent := s.intent(newWorld(t).granted())
	frames := s.segment(intent).GetFrames()
	pack := func(b []byte) []byte {
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(b, nil)
	}
	for name, c := range map[string]struct {
		kept []byte
		want []byte // nil: an error
	}{
		"frames":  {frames, frames},
		"packed":  {pack(frames), frames},
		"cut":     {pack(frames)[:30], nil},
		"too big": {pack(make([]byte, feed.MaxMessage+1)), nil},
		"text":    {[]byte("no frames"), nil},
	} {
		if got, err := (access.StoredSegment{Packed: c.kept}).Frames(); (err != nil) != (c.want == nil) || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
