package oauth

import (
	"testing"
	"time"
)

// What is full refuses who is new; nobody is forgotten before their end.
func TestHoldersRefuseWhenFull(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := newHolders(2)
	mine, other := [32]byte{1}, [32]byte{2}
	for _, c := range []struct {
		name, token string
		presenter   [32]byte
		after       time.Duration
		want        holding
	}{
		{"the first", "a.b.c", mine, 0, held},
		{"a second", "a.c.c", mine, 0, held},
		{"a third", "a.d.c", mine, 0, noRoom},
		{"the first again", "a.b.c", mine, 0, held},
		{"the first, of a thief", "a.b.c", other, 0, byAnother},
		{"the first with another signature, of a thief", "a.b.d", other, 0, byAnother},
		{"a third, at the very end", "a.d.c", mine, time.Minute, noRoom},
		{"a third, later", "a.d.c", mine, time.Minute + 1, held},
	} {
		if got := h.take(c.token, c.presenter, now.Add(time.Minute), now.Add(c.after)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
