package spool

import "github.com/mayflyproxy/mayfly/audit"

// Alarm records something that a correct control plane never causes, or an operator's
// answer to it. It does not wait for the disk; an alarm is written even where there is
// no room. False: it is not written, and stands in the log alone.
func (s *Spool) Alarm(a audit.SpoolAlarm) bool {
	lost := func(err error) {
		if err != nil {
			s.c.Log.Error("alarm not recorded", "reason", a.Reason, "text", a.Text, "error", err)
		}
	}
	w := &write{entry: entry{kind: audit.TypeSpoolAlarm, subject: s.id, vital: true, body: a}, done: lost}
	if err := s.alive(); err != nil {
		lost(err)
		return false
	}
	select {
	case s.queue <- w:
		return true
	default:
		lost(ErrFull)
		return false
	}
}
