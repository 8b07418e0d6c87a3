package fault

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Pong that says what time it is may take a second, and one that settles a doubt five:
// a gateway's time leads by as much from then on, and grants end early there (contracts
// §1). Grants that last three seconds are of no use then.
const (
	mayLead  = 1200 * time.Millisecond
	mostLead = 5*time.Second + mayLead
)

// keepTime has the gateway's operator reset its clock if its time leads by more than a
// Pong takes. A lead beyond what is agreed fails the test.
func (d *driver) keepTime() {
	d.Helper()
	lead := d.lead()
	if lead <= mayLead {
		return
	}
	d.Logf("the gateway's time leads by %s: its clock is reset", lead)
	if lead > mostLead {
		d.Errorf("%s is more than any Pong that counts may take", lead)
	}
	config := filepath.Join(d.Dir, "gw", "sidecar.yaml")
	out, err := exec.CommandContext(d.Context(), filepath.Join(d.Bin, "mayfly-sidecar"), "reset-clock", "--dev", "--config", config).CombinedOutput()
	if err != nil {
		d.Fatalf("%v, %s", err, out)
	}
	d.resumed(d)
}

// lead is how far the gateway's time is ahead of this machine's: the id of a refusal says
// when that was.
func (d *driver) lead() (lead time.Duration) {
	d.Helper()
	eventually(d, "a refusal that has an id", func() error {
		a := read(d.Context(), d.traffic.refunder, "/nobody/asked/for/this")
		d.note("ending", a)
		var refusal struct{ Denial string }
		if err := json.Unmarshal([]byte(a.detail), &refusal); err != nil {
			return errors.Join(err, a.must("no_grant"))
		}
		at, ok := madeAt(refusal.Denial)
		if !ok {
			return a.must("no_grant")
		}
		lead = time.Until(at)
		return nil
	})
	return lead
}

// madeAt reads the time of an id, in milliseconds: its first ten characters (contracts §1).
func madeAt(id string) (time.Time, bool) {
	_, text, _ := strings.Cut(id, "_")
	if len(text) != 26 {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range text[:10] {
		n := strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c)
		if n < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(n)
	}
	return time.UnixMilli(ms), true
}
