package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/mayflyproxy/mayfly/audit"
)

// recover reads the folder as a process before left it.
func (s *Spool) recover() error {
	files, err := listFiles(s.c.Dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := s.loadID(len(files) == 0); err != nil {
		return err
	}
	s.next = 1
	if len(files) > 0 {
		s.next, s.shipped = files[0].first, files[0].first
		if err := s.firstPrev(files[0]); err != nil {
			return err
		}
	}
	var cut int64
	for i, f := range files {
		n, err := s.readFile(f, i == len(files)-1)
		if err != nil {
			return err
		}
		cut += n
	}
	if err := s.openActive(); err != nil {
		return err
	}
	return s.closeOpen(cut)
}

// firstPrev takes the chain's head before the oldest kept frame from that frame:
// what came before is anchored at mayflyd, which holds the link.
func (s *Spool) firstPrev(f *file) error {
	if f.first == 1 {
		return nil
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	frame, err := audit.NextFrame(b)
	if err != nil {
		return fmt.Errorf("spool: %s: %w", f.path, err)
	}
	s.head = frame.Prev()
	return nil
}

// readFile checks one file, follows its intents, and cuts a torn tail, which
// only the last file may have.
func (s *Spool) readFile(f *file, last bool) (cut int64, err error) {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	if f.first != s.next {
		return 0, fmt.Errorf("spool: %s follows seq %d: frames are missing", f.path, s.next-1)
	}
	f.prev = s.head
	tail, err := audit.ScanFrames(b, s.head, f.first, func(e audit.Entry) error {
		f.count++
		return s.follow(f, e)
	})
	if err != nil {
		return 0, fmt.Errorf("spool: %s: %w", f.path, err)
	}
	if tail.Torn {
		if !last {
			return 0, fmt.Errorf("spool: %s ends in the middle of a frame and is not the last file", f.path)
		}
		cut = int64(len(b)) - tail.Cut
		if err := os.Truncate(f.path, tail.Cut); err != nil {
			return 0, fmt.Errorf("spool: cut a torn tail: %w", err)
		}
	}
	f.size = tail.Cut
	s.head, s.next, s.used = tail.Head, tail.Next, s.used+f.size
	s.files = append(s.files, f)
	return cut, nil
}

// follow notes the intents that are open after a record.
func (s *Spool) follow(f *file, e audit.Entry) error {
	switch e.Record.Type {
	case audit.TypeActionIntent:
		var i audit.Intent
		if err := e.Record.Into(&i); err != nil {
			return err
		}
		s.open[i.Action] = f
		f.open++
	case audit.TypeActionObserved:
		var o audit.Observed
		if err := e.Record.Into(&o); err != nil {
			return err
		}
		s.open[o.Action] = f
		f.open++
		f.watched += int64(e.Frame.Size) + outcomeRoom
	case audit.TypeActionOutcome:
		var o audit.Outcome
		if err := e.Record.Into(&o); err != nil {
			return err
		}
		s.closed(o.Action)
	case audit.TypeActionDenied, audit.TypeActionDeniedCount:
		f.denied += int64(e.Frame.Size)
	}
	return nil
}

func (s *Spool) closed(action string) {
	if f, ok := s.open[action]; ok {
		f.open--
		delete(s.open, action)
	}
}

// openActive opens the last file for writing, or makes the first one.
func (s *Spool) openActive() error {
	if len(s.files) == 0 {
		return s.rotate()
	}
	f, err := s.c.openFile(s.files[len(s.files)-1].path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return s.replace(f)
}

// closeOpen writes that this process took over, and that nobody knows what
// became of the intents that the one before left open.
func (s *Spool) closeOpen(cut int64) error {
	actions := make([]string, 0, len(s.open))
	for a := range s.open {
		actions = append(actions, a)
	}
	slices.Sort(actions)
	entries := []entry{{kind: audit.TypeSpoolStarted, subject: s.id, vital: true, body: audit.SpoolStarted{
		Spool: s.id, Version: s.c.Version, Cut: cut, Closed: uint64(len(actions)),
	}}}
	for _, a := range actions {
		entries = append(entries, outcomeEntry(audit.Outcome{Action: a, Result: audit.ResultUnknown, Reason: audit.ReasonRestart}))
	}
	var errs []error
	for i := range entries {
		errs = append(errs, s.append(&entries[i]))
	}
	return errors.Join(append(errs, s.sync())...)
}
