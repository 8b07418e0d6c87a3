package spool

import (
	"errors"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

// An alarm is on the record also where nothing else finds room.
func TestP9_AnAlarmIsRecordedInAFullSpool(t *testing.T) {
	p, dir := newPlane(), t.TempDir()
	p.down = errors.New("away")
	c := config(dir, p)
	c.Limit = 256 << 10
	s := open(t, c)
	stop := run(t, s)
	fill(t, s)
	want := audit.SpoolAlarm{Reason: "record_unavailable", Text: strings.Repeat("another record ", 600), Kept: "one note", Shown: "another note"}
	if !s.Alarm(want) {
		t.Fatal("it is not taken")
	}
	stop()
	var got []audit.SpoolAlarm
	for _, r := range scan(t, disked(t, dir)) {
		if r.Type == audit.TypeSpoolAlarm {
			var a audit.SpoolAlarm
			if err := r.Into(&a); err != nil {
				t.Fatal(err)
			}
			got = append(got, a)
		}
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("recorded %+v", got)
	}
	if s.Alarm(want) {
		t.Error("a closed spool takes it")
	}
}
