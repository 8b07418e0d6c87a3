package door

import "testing"

func TestLockedIsLocked(t *testing.T) {
	if Open("key", true) || !Open("key", false) {
		t.Error("the lock does not decide")
	}
}

func TestLong(t *testing.T) {
	if Open("a very long key", false) {
		t.Error("a long key opens")
	}
}

func TestRed(t *testing.T) { t.Error("always red") }
