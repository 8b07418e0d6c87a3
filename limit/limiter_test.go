package limit

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Whoever shows up under more names than are remembered gets no try back by it, and
// neither do those names have a limit each.
func TestManyNamesBuyNoTries(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := New(func() time.Time { return now }, 3, time.Second)
	takes := func(key string) bool { _, ok := l.Take(key); return ok }
	spend := func(key string) (n int) {
		for takes(key) {
			n++
		}
		return n
	}
	if n := spend("attacker"); n != 3 || !l.Spent("attacker") {
		t.Fatalf("%d tries, want 3", n)
	}
	for i := range maxKeys {
		takes(fmt.Sprint(i))
	}
	if takes("attacker") || !l.Spent("attacker") {
		t.Error("the attacker's tries came back")
	}
	let := 0
	for i := range 100 {
		if takes(fmt.Sprint("new ", i)) {
			let++
		}
	}
	if let > 3 || !l.Spent("one more") {
		t.Errorf("%d strangers were let in, for whom there was no room", let)
	}
	now = now.Add(time.Minute)
	if n := spend("attacker"); n != 3 {
		t.Errorf("after a minute %d tries, want 3", n)
	}
}

func TestTakeSaysWhenToComeBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := New(func() time.Time { return now }, 2, 5*time.Second)
	for range 2 {
		if _, ok := l.Take("alice"); !ok {
			t.Fatal("refused within the burst")
		}
	}
	wait, ok := l.Take("alice")
	if ok || wait != 5*time.Second {
		t.Fatalf("%v, %v", wait, ok)
	}
	if _, ok := l.Take("bob"); !ok {
		t.Error("another's tries are spent too")
	}
	now = now.Add(wait)
	if _, ok := l.Take("alice"); !ok {
		t.Error("refused after the wait")
	}
}

func TestPeer(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:1234":                        "192.0.2.7",
		"[::ffff:192.0.2.7]:1":                  "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:443":            "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff:ffff:ffff:1%en0]:1": "2001:db8:1:2::/64",
		"@":                                     "", "": "", "nobody:1": "",
	} {
		if got := Peer(&http.Request{RemoteAddr: address}); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
