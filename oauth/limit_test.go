package oauth

import (
	"fmt"
	"testing"
	"time"
)

// Whoever shows up under more names than are remembered gets no try back by it, and
// neither do those names have a limit each.
func TestManyNamesBuyNoTries(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLimiter(func() time.Time { return now }, 3, time.Second)
	spend := func(key string) (n int) {
		for l.take(key) == nil {
			n++
		}
		return n
	}
	if n := spend("attacker"); n != 3 {
		t.Fatalf("%d tries, want 3", n)
	}
	for i := range maxKeys {
		_ = l.take(fmt.Sprint(i))
	}
	if l.take("attacker") == nil {
		t.Error("the attacker's tries came back")
	}
	strangers := 0
	for i := range 100 {
		if l.take(fmt.Sprint("new ", i)) == nil {
			strangers++
		}
	}
	if strangers > 3 {
		t.Errorf("%d strangers were let in, for whom there was no room", strangers)
	}
	now = now.Add(time.Minute)
	if n := spend("attacker"); n != 3 {
		t.Errorf("after a minute %d tries, want 3", n)
	}
}
