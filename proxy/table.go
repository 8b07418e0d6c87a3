package proxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// answerLimit is how long an answer handed to gRPC may take to reach Envoy:
// ext_authz's timeout (contracts §4).
const answerLimit = 5 * time.Second

// Alarm is something that a correct control plane never causes.
type Alarm struct {
	At     time.Time // t
	Reason grant.Reason
	Text   string
	// Kept and Shown are signed checkpoints that the alarm is about, if it is about any.
	Kept, Shown []byte
}

// TableConfig configures a Table.
type TableConfig struct {
	// Clock is the sidecar's time. Required; its Run is the caller's.
	Clock *Clock
	// Admit says whether the local configuration can serve an app: an error, best a
	// Denial, refuses it (NACK), and the app is not held. Nil admits all.
	Admit func(*App) error
	// Witness keeps the newest checkpoint of the record and refuses another record.
	// Its Run is the caller's. Nil: what Pongs show of the record is not looked at; a
	// gateway always has one.
	Witness *Witness
	// Proofs checks grants on the apps where only proven ones count. Nil: on none. It
	// needs Witness.
	Proofs *Proofs
	// Sidecar is the SPIFFE ID of this gateway's sidecar, under which policy says what
	// counts here. Empty: nothing does of an app of which policy says it.
	Sidecar string
	// Describe fills in what a Ping tells of the spools. Nil: nothing.
	Describe func(*feed.Ping)
	// Alarm is told of alarms, to be recorded. It must not block. Nil: the log only.
	Alarm func(Alarm)
	// Log is for operators; nil discards.
	Log *slog.Logger
}

// Table is the sidecar's memory of who may do what: apps, grants and sessions as the
// feed told them, the lease, and the generations. It is the feed's Sink. Readers take
// no lock that a change holds, and see a change whole or not at all; all methods
// but the Sink's are safe for concurrent use. The zero value is not usable: make
// it with NewTable. Until a complete snapshot and a Pong, everything is stale.
type Table struct {
	clock       *Clock
	lease       Lease
	generations *Generations
	admit       func(*App) error
	sidecar     string
	production  bool // as the SPIFFE ID of this gateway's sidecar says
	describe    func(*feed.Ping)
	witness     *Witness
	proofs      *Proofs
	alarm       func(Alarm)
	log         *slog.Logger

	state   atomic.Pointer[state]
	back    atomic.Pointer[Doubt] // a snapshot from before was refused, and none taken in since
	strayed atomic.Bool           // what is held is not what was taken in, until a snapshot

	writing sync.Mutex              // held by the Sink's methods
	counter counter                 // lent to their drafts
	past    []*held                 // in the order in which they are forgotten
	left    []*seat                 // likewise
	waiting map[int64]grant.GrantID // leaves that grants wait for; likewise
}

// NewTable checks c.
func NewTable(c TableConfig) (*Table, error) {
	if c.Clock == nil {
		return nil, errors.New("table: Clock is required")
	}
	if c.Proofs != nil && c.Witness == nil {
		return nil, errors.New("table: Proofs need a Witness")
	}
	if c.Admit == nil {
		c.Admit = func(*App) error { return nil }
	}
	if c.Describe == nil {
		c.Describe = func(*feed.Ping) {}
	}
	if c.Alarm == nil {
		c.Alarm = func(Alarm) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{clock: c.Clock, generations: NewGenerations(), waiting: map[int64]grant.GrantID{}, admit: c.Admit, sidecar: c.Sidecar, production: inProduction(c.Sidecar), describe: c.Describe, witness: c.Witness, proofs: c.Proofs, alarm: c.Alarm, log: c.Log}
	t.state.Store((&draft{state: newState()}).share())
	return t, nil
}

// Now returns t (contracts §1); the zero time before it is known.
func (t *Table) Now() time.Time { return t.clock.Now() }

// App returns the app with that name.
func (t *Table) App(name string) (*App, bool) {
	a, ok := t.state.Load().apps[name]
	return a, ok
}

// AppByHost returns the app that answers to a host, given in lower case and
// without port.
func (t *Table) AppByHost(host string) (*App, bool) {
	a := t.state.Load().hosts[host]
	return a, a != nil
}

// Apps returns all apps, by name.
func (t *Table) Apps() []*App {
	s := t.state.Load()
	out := make([]*App, 0, len(s.apps))
	for _, a := range s.apps {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *App) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Fresh returns nil while the app may be decided about: a Denial stale, clock or
// unknown_app says why not.
func (t *Table) Fresh(app string) error { return t.fresh(t.state.Load(), app) }

func (t *Table) fresh(s *state, app string) error {
	if err := t.ready(s); err != nil {
		return err
	}
	a, ok := s.apps[app]
	if !ok {
		return grant.Deny(grant.UnknownApp, "this gateway fronts no app %q", app)
	}
	return t.lease.Check(t.clock.Boot(), a.StaleAfter)
}

// Ready returns nil once anything at all may be decided: a complete snapshot is
// in and the clock is trusted. Before that a host without an app is stale, not
// unknown.
func (t *Table) Ready() error { return t.ready(t.state.Load()) }

func (t *Table) ready(s *state) error {
	if err := t.witness.Trusted(); err != nil {
		return err
	}
	return t.told(s)
}

// Told returns nil once the gateway knows the time and holds a complete snapshot,
// whether or not it believes what it is shown of the record: there is something to
// record then.
func (t *Table) Told() error { return t.told(t.state.Load()) }

func (t *Table) told(s *state) error {
	if !s.filled {
		return grant.Deny(grant.Stale, "the gateway has not yet been told what is granted")
	}
	return t.clock.Trusted()
}

// Freshness returns how long ago the newest answered Ping was sent; ok is false
// if none was.
func (t *Table) Freshness() (age time.Duration, ok bool) { return t.lease.Age(t.clock.Boot()) }

// Enter begins a short section: a last look and the act that it allows, with no
// wait in between (contracts §2). The caller leaves it.
func (t *Table) Enter() Section { return t.generations.Enter() }

// Look is a last look: nil if the grant is still held, in force at now, and the
// table fresh; else a Denial with its own reason. No other grant is considered.
func (t *Table) Look(id grant.GrantID, now time.Time) error {
	return t.lookBoth(id, visit{}, now)
}

// lookBoth is Look, and asks for a person's session too.
func (t *Table) lookBoth(id grant.GrantID, v visit, now time.Time) error {
	_, _, err := t.lookAt(id, v, now)
	return err
}

// lookAt looks at grant and session in one state: what took either away is not
// acknowledged before whoever saw both has left its section.
func (t *Table) lookAt(id grant.GrantID, v visit, now time.Time) (*held, *seat, error) {
	return t.lookIn(t.state.Load(), id, v, now)
}

func (t *Table) lookIn(s *state, id grant.GrantID, v visit, now time.Time) (*held, *seat, error) {
	if err := t.ready(s); err != nil {
		return nil, nil, err
	}
	h, ok := s.byID.get(id)
	if !ok {
		return nil, nil, grant.Deny(grant.NoGrant, "grant %s is not in force here", id)
	}
	if err := t.fresh(s, h.app()); err != nil {
		return nil, nil, err
	}
	if err := s.verifies(v.kid); err != nil {
		return nil, nil, err
	}
	sitting, err := s.attend(v, now)
	if err != nil {
		return nil, nil, err
	}
	return h, sitting, s.inForce(h, now)
}

// inForce is grant.InForce, and never yes for a past grant. Only a no reads the scope:
// what is asked about was permitted under it before.
func (s *state) inForce(h *held, now time.Time) error {
	switch h.refused() {
	case "":
	case grant.GrantUnproven:
		return grant.Deny(grant.GrantUnproven, "grant %s has no proof that counts at this gateway", h.id)
	default:
		return grant.Deny(grant.UnsupportedGrant, "grant %s needs a newer gateway", h.id)
	}
	var err error
	if g := h.marked(h.term()); g.CheckTerm() != nil || g.StateAt(now) != grant.Active {
		err = h.open().InForce(now)
	}
	if err == nil && h.waits() != nil {
		return grant.Deny(grant.GrantUnproven, "grant %s is not yet shown on the record", h.id)
	}
	if err == nil && h.past() {
		return grant.Deny(grant.Ended, "grant %s is no longer held", h.id)
	}
	if _, unsure := s.unsure[h.id]; unsure && err == nil {
		return grant.Deny(grant.Stale, "the gateway has not heard what time it is since grant %s was made", h.id)
	}
	return err
}

// LastLook runs act inside a section if the grant is still in force, and keeps
// for receipts that action was let through: deadline is when Envoy ends it if it
// goes to a direct app, zero if it goes through the hop. The error is a Denial of
// the look, and act did not run, or act's own, as it is (tell them apart by
// whether act ran). act hands over an answer or starts a write, and waits for
// nothing else.
func (t *Table) LastLook(id grant.GrantID, action grant.ActionID, deadline time.Time, act func() error) error {
	return t.lastLook(id, visit{}, action, deadline, act)
}

// LastLookAt is LastLook for an action whose request the caller holds and cuts; it
// asks for all that the action was decided by.
func (t *Table) LastLookAt(a Action, act func() error) error {
	a.visit.kid = a.Key
	if a.Observed {
		return t.lastPass(a, a.visit, time.Time{}, act)
	}
	return t.lastLook(a.Grant, a.visit, a.ID, time.Time{}, func() error {
		if !t.clock.Now().Before(a.Deadline) {
			return grant.Deny(grant.Timeout, "the decision took too long")
		}
		return act()
	})
}

// lastLook is LastLook, and asks for a person's session too.
func (t *Table) lastLook(id grant.GrantID, v visit, action grant.ActionID, deadline time.Time, act func() error) error {
	section := t.Enter()
	defer section.Leave()
	s := t.state.Load()
	now := t.clock.Now() // after s: what a Pong put in force there is looked at by that Pong's time
	h, sitting, err := t.lookIn(s, id, v, now)
	if err != nil {
		return err
	}
	h.life().pass(now, action, deadline)
	if sitting != nil {
		sitting.life.pass(now, action, deadline)
	}
	return act()
}

// NotePassed is the noting of LastLook, for a caller that entered, looked and
// acts by itself. It is called inside the section.
func (t *Table) NotePassed(id grant.GrantID, action grant.ActionID, deadline time.Time) {
	if h, ok := t.state.Load().byID.get(id); ok {
		h.life().pass(t.clock.Now(), action, deadline)
	}
}

// Gone returns a channel that is closed when the grant is no longer held as it
// is now: removed, or changed. It does not close at the grant's end, which needs
// no message: the caller's timer does that. A grant that is not held is gone.
func (t *Table) Gone(id grant.GrantID) <-chan struct{} {
	if h, ok := t.state.Load().byID.get(id); ok && !h.past() {
		return h.life().gone
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// Status is what an operator sees of the table.
type Status struct {
	At     feed.Position
	Filled bool
	Apps   int
	Grants int
	Past   int           // grants remembered for refusals only
	People int           // sessions
	Age    time.Duration // freshness; meaningless if not Heard
	Heard  bool
	Clock  error // nil: trusted
	Record int64 // entries of the newest checkpoint that is kept
	Doubt  error // why the newest Pong does not count for what it shows of the record, nil: it does
}

// Status returns what an operator sees of the table.
func (t *Table) Status() Status {
	s := t.state.Load()
	age, heard := t.Freshness()
	record, doubt := t.seen()
	return Status{
		Record: record, Doubt: doubt,
		At: s.at, Filled: s.filled, Apps: len(s.apps), Grants: s.live, Past: s.byID.size - s.live, People: s.seated,
		Age: age, Heard: heard, Clock: t.clock.Trusted(),
	}
}

// ResetClock forgets the time and believes the next Pong's: an operator's
// decision, told as an alarm so that it is recorded.
func (t *Table) ResetClock() error {
	was := t.clock.Now()
	if err := t.clock.Reset(); err != nil {
		return err
	}
	t.raise(Alarm{At: was, Reason: grant.Clock, Text: "the clock was reset by an operator"})
	return nil
}

// ResetCheckpoint lets go of the checkpoint that is kept, and believes the next one that
// the record's key signed: an operator's decision, told as an alarm so that it is
// recorded.
func (t *Table) ResetCheckpoint() error {
	if t.witness == nil {
		return errors.New("no checkpoint is kept")
	}
	kept, shown, err := t.witness.Reset()
	if err != nil {
		return err
	}
	t.raise(Alarm{At: t.clock.Now(), Reason: grant.RecordUnavailable, Text: "the kept checkpoint was let go by an operator", Kept: kept, Shown: shown})
	return nil
}

// seen is how much of the record is kept, and why the newest Pong does not count.
func (t *Table) seen() (entries int64, doubt error) {
	if t.witness == nil {
		return 0, nil
	}
	c, _, d := t.witness.Kept()
	if d == nil {
		d = t.back.Load()
	}
	if d != nil {
		doubt = d
	}
	return c.Size, doubt
}

func (t *Table) raise(a Alarm) {
	t.log.LogAttrs(context.Background(), slog.LevelError, "alarm", slog.String("reason", string(a.Reason)), slog.String("text", a.Text))
	t.alarm(a)
}
