package oidc

import (
	"strconv"
	"testing"
	"time"
)

func TestSeenIsBoundedAndForgets(t *testing.T) {
	now := time.Now()
	var s seen
	for i := range maxSeen {
		if !s.first(strconv.Itoa(i), now, now.Add(time.Minute)) {
			t.Fatalf("%d is seen for the first time", i)
		}
	}
	if s.first("0", now, now.Add(time.Minute)) || s.first("1", now, now.Add(time.Minute)) {
		t.Error("seen twice")
	}
	if !s.first("new", now, now.Add(time.Minute)) || len(s.until) != maxSeen || len(s.order) != maxSeen {
		t.Errorf("full: %d and %d are kept", len(s.until), len(s.order))
	}
	if s.first("1", now, now.Add(time.Minute)) {
		t.Error("a younger one was forgotten for it")
	}
	now = now.Add(time.Minute)
	if !s.first("1", now, now.Add(time.Minute)) || len(s.until) != 1 || len(s.order) != 1 {
		t.Errorf("over: %d and %d are kept", len(s.until), len(s.order))
	}
}
