package main

import (
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/spool"
)

const (
	maxEarlyAlarms = 32
	feedAlarmEvery = time.Minute
)

// alarms records alarms in the spool: those from before it is open, as soon as it is.
// Safe for concurrent use; the zero value is ready.
type alarms struct {
	mu    sync.Mutex
	early []audit.SpoolAlarm // while there is no spool
	spool *spool.Spool
	feed  map[string]time.Time // when the feed's client last raised one, by its text
}

// raised records an alarm of the table.
func (a *alarms) raised(one proxy.Alarm) {
	a.add(audit.SpoolAlarm{Reason: string(one.Reason), Text: one.Text, Kept: string(one.Kept), Shown: string(one.Shown)})
}

// fed records an alarm of the feed's client, which says the same with each try: once a
// minute.
func (a *alarms) fed(text string) {
	now := time.Now()
	a.mu.Lock()
	last, known := a.feed[text]
	quiet := known && now.Sub(last) < feedAlarmEvery
	if !quiet {
		if a.feed == nil {
			a.feed = map[string]time.Time{} // its texts are constants
		}
		a.feed[text] = now
	}
	a.mu.Unlock()
	if !quiet {
		a.add(audit.SpoolAlarm{Text: text})
	}
}

func (a *alarms) add(one audit.SpoolAlarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.spool != nil:
		a.spool.Alarm(one)
	case len(a.early) < maxEarlyAlarms:
		a.early = append(a.early, one)
	}
}

// open records what was raised so far, and from now on at once.
func (a *alarms) open(s *spool.Spool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spool = s
	for _, one := range a.early {
		s.Alarm(one)
	}
	a.early = nil
}
