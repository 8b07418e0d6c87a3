package spool

import (
	"bytes"
	"fmt"
	"os"

	"github.com/mayflyproxy/mayfly/audit"
)

// FindDenied looks for a denial in the folder of a spool, and changes nothing there: the
// process that owns it may run. What was shipped may be gone from the folder. ok is false
// if it is not there.
func FindDenied(dir, id string) (d audit.Denied, r audit.Record, ok bool, err error) {
	files, err := listFiles(dir)
	if err != nil {
		return d, r, false, fmt.Errorf("spool: %w", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f.path)
		if os.IsNotExist(err) {
			continue // shipped meanwhile
		}
		if err != nil {
			return d, r, false, fmt.Errorf("spool: %w", err)
		}
		for len(b) > 0 {
			frame, err := audit.NextFrame(b)
			if err != nil {
				break // a torn tail, or one that is being written
			}
			b = b[frame.Size:]
			if !bytes.Contains(frame.Record(), []byte(id)) {
				continue
			}
			if r, err = audit.Decode(frame.Record()); err == nil && r.Type == audit.TypeActionDenied && r.Into(&d) == nil && d.Denial == id {
				return d, r, true, nil
			}
		}
	}
	return audit.Denied{}, audit.Record{}, false, nil
}
