package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// actionCheck pairs grants, intents, reservations and outcomes.
type actionCheck struct {
	grants   map[string]grantSeen
	reserved []reservation
	intents  map[string]*intentSeen // by action
	order    []*intentSeen
	anchored map[string]uint64 // spool → last anchored seq
	observes map[string]Time   // app → until when some policy observed it; zero: without an end
	damaged  map[string]bool   // spools with frames that were not read
}

type grantSeen struct {
	GrantCreated
	ended time.Time // of the leaf that ended it by hand, zero if none did
}

type reservation struct {
	Reserved
	leaf int64
}

type intentSeen struct {
	Intent
	spool    string
	seq      uint64
	frame    Hash
	at       time.Time
	outcome  *Outcome
	reserved bool
	observed bool // no intent: it passed undecided, and Grant is what it would have been under
	rebound  []rebinding
}

// rebinding is where an action went on under another grant.
type rebinding struct {
	Rebound
	at    time.Time
	place Place
}

// under is the grant of an action, as far as the record was read.
func (i *intentSeen) under() string {
	if n := len(i.rebound); n > 0 {
		return i.rebound[n-1].Grant
	}
	return i.Grant
}

func newActionCheck() *actionCheck {
	return &actionCheck{
		grants: map[string]grantSeen{}, intents: map[string]*intentSeen{},
		observes: map[string]Time{}, anchored: map[string]uint64{}, damaged: map[string]bool{},
	}
}

// leaf takes a leaf; the error is one of form.
func (c *actionCheck) leaf(index int64, r Record) error {
	switch r.Type {
	case TypeGrantCreated:
		return c.grantCreated(r)
	case TypeGrantRevoked, TypeGrantFinished, TypeGrantIdle:
		return c.grantEnded(r)
	case TypePolicyApplied:
		return c.policy(r)
	case TypeActionReserved:
		var b Reserved
		if err := r.Into(&b); err != nil {
			return err
		}
		c.reserved = append(c.reserved, reservation{b, index})
	}
	return nil
}

// policy takes which apps a policy observes.
func (c *actionCheck) policy(r Record) error {
	var b struct {
		Observed []ObservedApp `json:"observed"`
	}
	if err := rawBody(r, &b); err != nil {
		return err
	}
	for _, o := range b.Observed {
		was, ok := c.observes[o.App]
		if forever := ok && was.IsZero(); !forever && (o.Until.IsZero() || o.Until.After(was.Time)) {
			c.observes[o.App] = o.Until
		}
	}
	return nil
}

// wasObserved checks that some policy had put the app of what passed undecided in
// observe mode until after that.
func (c *actionCheck) wasObserved(v *verification, i *intentSeen) {
	until, ok := c.observes[i.App]
	if v.whole && (!ok || !until.IsZero() && !i.at.Before(until.Time)) {
		v.problem(i.place(), ReasonObserved, "action %s passed undecided, and no policy observed app %.40s then", i.Action, i.App)
	}
}

func (c *actionCheck) grantCreated(r Record) error {
	var g GrantCreated
	if err := rawBody(r, &g); err != nil {
		return err
	}
	if _, twice := c.grants[g.Grant]; g.Grant == "" || twice || g.NotAfter.IsZero() {
		return fmt.Errorf("grant %.40q: want a new one, with not_after", g.Grant)
	}
	c.grants[g.Grant] = grantSeen{GrantCreated: g}
	return nil
}

func (c *actionCheck) grantEnded(r Record) error {
	var b struct {
		Grant string `json:"grant"`
	}
	if err := rawBody(r, &b); err != nil {
		return err
	}
	if g, ok := c.grants[b.Grant]; ok {
		g.ended = r.Time
		c.grants[b.Grant] = g
	}
	return nil
}

// frame takes a spool's record; the error is one of form.
func (c *actionCheck) frame(v *verification, spool string, f spoolFrame) error {
	r := f.rec
	switch r.Type {
	case TypeActionIntent:
		return c.intent(v, spool, f)
	case TypeActionObserved:
		return c.observed(v, spool, f)
	case TypeActionOutcome:
		return c.outcome(v, spool, r)
	case TypeActionRebound:
		return c.rebind(v, spool, r)
	case TypeActionDenied:
		return r.Into(new(Denied))
	case TypeActionDeniedCount:
		return r.Into(new(DeniedCount))
	case TypeSpoolAlarm:
		return r.Into(new(SpoolAlarm))
	case TypeSpoolStarted:
		var b SpoolStarted
		if err := r.Into(&b); err != nil {
			return err
		}
		if b.Spool != spool {
			return fmt.Errorf("was written into spool %.40q", b.Spool)
		}
		return nil
	default:
		return fmt.Errorf("type %s does not belong in a spool", r.Type)
	}
}

func (c *actionCheck) intent(v *verification, spool string, f spoolFrame) error {
	i := &intentSeen{spool: spool, seq: f.rec.Seq, frame: f.sha, at: f.rec.Time}
	if err := f.rec.Into(&i.Intent); err != nil {
		return err
	}
	if i.Action == "" || i.Grant == "" || !knownClass(i.Class) {
		return fmt.Errorf("action %.40q, grant %.40q, class %.20q: want all three", i.Action, i.Grant, i.Class)
	}
	v.report.Actions++
	c.first(v, i)
	return nil
}

// observed takes what passed undecided. It stands among the intents, so that one action
// is not both, and so that its outcome has a place.
func (c *actionCheck) observed(v *verification, spool string, f spoolFrame) error {
	var o Observed
	if err := f.rec.Into(&o); err != nil {
		return err
	}
	if o.Action == "" || o.App == "" || (o.Grant == "") == (o.Code == "") || !knownClass(o.Class) && (o.Class != "" || o.Operation != "") {
		return fmt.Errorf("action %.40q on app %.40q, grant %.40q, code %.40q, class %.20q: want action, app, class, and either grant or code", o.Action, o.App, o.Grant, o.Code, o.Class)
	}
	i := &intentSeen{spool: spool, seq: f.rec.Seq, frame: f.sha, at: f.rec.Time, observed: true, Intent: Intent{Grant: o.Grant, Try: o.Try}}
	v.report.Observed++
	if !o.Until.IsZero() && !i.at.Before(o.Until.Time) {
		v.problem(i.place(), ReasonObserved, "action %s at %s passed undecided: its app was enforced from %s on", o.Action, Stamp(i.at), Stamp(o.Until.Time))
	}
	c.first(v, i)
	return nil
}

// first keeps what begins an action: there is one of an action.
func (c *actionCheck) first(v *verification, i *intentSeen) {
	if before, ok := c.intents[i.Action]; ok {
		v.problem(i.place(), ReasonIntent, "action %s has an intent already, in spool %s seq %d", i.Action, before.spool, before.seq)
		return
	}
	c.intents[i.Action] = i
	c.order = append(c.order, i)
}

func (c *actionCheck) rebind(v *verification, spool string, r Record) error {
	var b Rebound
	if err := r.Into(&b); err != nil {
		return err
	}
	if b.Action == "" || b.From == "" || b.Grant == "" {
		return fmt.Errorf("action %.40q, from %.40q, grant %.40q: want all three", b.Action, b.From, b.Grant)
	}
	place := framePlace(spool, r.Seq, r.Seq)
	i, ok := c.intents[b.Action]
	switch {
	case !ok && c.damaged[spool]:
		v.unchecked("streams that go on, and whose intent stands in a damaged frame")
	case !ok || i.spool != spool:
		v.problem(place, ReasonIntent, "action %.40s goes on under another grant, and has no intent before it in this spool", b.Action)
	case i.outcome != nil:
		v.problem(place, ReasonIntent, "action %s goes on under another grant, and has an outcome already", b.Action)
	case i.observed:
		v.problem(place, ReasonObserved, "action %s goes on under another grant, and passed undecided, under none", b.Action)
	case i.under() != b.From:
		v.problem(place, ReasonIntent, "action %s goes on from grant %.40s, and was under %.40s", b.Action, b.From, i.under())
	default:
		i.rebound = append(i.rebound, rebinding{b, r.Time, place})
	}
	return nil
}

func (c *actionCheck) outcome(v *verification, spool string, r Record) error {
	var o Outcome
	if err := r.Into(&o); err != nil {
		return err
	}
	if o.Result != ResultSent && o.Result != ResultNotSent && o.Result != ResultUnknown {
		return fmt.Errorf("result %.20q: want sent, not_sent or unknown", o.Result)
	}
	place := framePlace(spool, r.Seq, r.Seq)
	i, ok := c.intents[o.Action]
	switch {
	case !ok && c.damaged[spool]:
		v.unchecked("outcomes whose intent stands in a damaged frame")
	case !ok || i.spool != spool:
		v.problem(place, ReasonIntent, "outcome of action %.40s, which has no intent before it in this spool", o.Action)
	case i.outcome != nil:
		v.problem(place, ReasonIntent, "action %s has an outcome already", o.Action)
	default:
		i.outcome = &o
	}
	return nil
}

func (c *actionCheck) lost(spool string) { c.damaged[spool] = true }

func (c *actionCheck) anchoredTo(spool string, last uint64) { c.anchored[spool] = last }

// finish does what needs every leaf and frame.
func (c *actionCheck) finish(v *verification) {
	for _, r := range c.reserved {
		c.pair(v, r)
	}
	for _, i := range c.order {
		c.acknowledged(v, i)
		c.inTime(v, i)
		if i.outcome == nil {
			v.note(i.place(), ReasonOpen, "action %s has no outcome yet", i.Action)
		}
	}
	if len(c.damaged) > 0 {
		v.unchecked(fmt.Sprintf("reservations, intents and outcomes in the damaged frames of %d spools", len(slices.Collect(maps.Keys(c.damaged)))))
	}
}

// pair finds the one intent that a reservation acknowledged.
func (c *actionCheck) pair(v *verification, r reservation) {
	place := leafPlace(r.leaf, r.leaf)
	i, ok := c.intents[r.Action]
	switch {
	case !ok && r.Seq > c.anchored[r.Spool]:
		v.note(place, ReasonPending, "action %s: seq %d of spool %s is not anchored yet", r.Action, r.Seq, r.Spool)
	case !ok && (c.damaged[r.Spool] || !v.whole): // its frame is named, or its anchor is
	case !ok:
		v.problem(place, ReasonReservation, "action %s has no intent in spool %s", r.Action, r.Spool)
	case i.spool != r.Spool || i.seq != r.Seq || i.frame != r.Frame:
		v.problem(place, ReasonReservation, "action %s was reserved as spool %s seq %d, SHA-256 %s: its intent is spool %s seq %d, SHA-256 %s",
			r.Action, r.Spool, r.Seq, r.Frame, i.spool, i.seq, i.frame)
	case i.observed:
		v.problem(place, ReasonObserved, "action %s was reserved, and passed undecided", r.Action)
	case i.Grant != r.Grant || i.Class != r.Class:
		v.problem(place, ReasonReservation, "action %s was reserved as %s under %s: its intent says %s under %s", r.Action, r.Class, r.Grant, i.Class, i.Grant)
	case i.reserved:
		v.problem(place, ReasonReservation, "action %s was reserved already", r.Action)
	}
	if ok {
		i.reserved = true
	}
}

// acknowledged checks that an intent that had to wait for its reservation, and
// was or may have been sent, has one. One that a restart closed may have died
// before it asked.
func (c *actionCheck) acknowledged(v *verification, i *intentSeen) {
	if i.observed || i.Class == "read" || i.Class == "write" || i.reserved || !v.whole || i.outcome == nil {
		return
	}
	if o := i.outcome; o.Result == ResultSent || o.Result == ResultUnknown && o.Reason != ReasonRestart {
		v.problem(i.place(), ReasonReservation, "action %s of class %s is %s, and no entry reserves it", i.Action, i.Class, o.Result)
	}
}

// inTime checks an intent, and each grant that it went on under, against the times of
// the grant.
func (c *actionCheck) inTime(v *verification, i *intentSeen) {
	if i.observed {
		c.wasObserved(v, i)
	}
	if i.observed && i.Grant == "" {
		return
	}
	c.within(v, i.place(), i.Action, i.Grant, i.at)
	for _, r := range i.rebound {
		c.within(v, r.place, r.Action, r.Grant, r.at)
		c.continues(v, i, r)
	}
}

func (c *actionCheck) within(v *verification, place Place, action, id string, at time.Time) {
	g, ok := c.grants[id]
	switch {
	case !ok && !v.whole:
	case !ok:
		v.problem(place, ReasonGrant, "action %s is under grant %.40s, which no entry created", action, id)
	case !at.Before(g.NotAfter.Time):
		v.problem(place, ReasonGrant, "action %s at %s: grant %s ended at %s", action, Stamp(at), id, Stamp(g.NotAfter.Time))
	case at.Before(g.NotBefore.Time):
		v.problem(place, ReasonGrant, "action %s at %s: grant %s began at %s", action, Stamp(at), id, Stamp(g.NotBefore.Time))
	case !g.ended.IsZero() && at.After(g.ended):
		v.note(place, ReasonAfterEnd, "action %s at %s: grant %s was ended at %s", action, Stamp(at), id, Stamp(g.ended))
	}
}

// continues checks that an action went on under a grant of the same holder on the same
// app, that there was no time between the two, and that nobody had to be asked first.
func (c *actionCheck) continues(v *verification, i *intentSeen, r rebinding) {
	from, known := c.grants[r.From]
	to, ok := c.grants[r.Grant]
	switch {
	case !ok || !known: // said by within
	case to.Principal != from.Principal:
		v.problem(r.place, ReasonGrant, "action %s goes on under grant %s, which is another holder's", r.Action, r.Grant)
	case to.App != from.App || to.App != i.App:
		v.problem(r.place, ReasonGrant, "action %s goes on under grant %s, which is on another app", r.Action, r.Grant)
	case to.NotBefore.After(from.NotAfter.Time):
		v.problem(r.place, ReasonGrant, "action %s goes on under grant %s, which began after the end of %s", r.Action, r.Grant, r.From)
	case to.Class != "read" && to.Class != "write":
		v.problem(r.place, ReasonReservation, "action %s goes on under grant %s of class %.20s, and no entry reserves it", r.Action, r.Grant, to.Class)
	}
}

func (i *intentSeen) place() Place { return framePlace(i.spool, i.seq, i.seq) }

func knownClass(s string) bool {
	switch s {
	case "read", "write", "money", "secret", "admin":
		return true
	default:
		return false
	}
}

// rawBody reads a decoded record's body into v, letting other keys be.
func rawBody(r Record, v any) error {
	raw, _ := r.Body.(json.RawMessage)
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}
