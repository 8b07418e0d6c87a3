package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// MaxGroupAge is how old groups may be when they decide (contracts §7).
const MaxGroupAge = 15 * time.Minute

// MaxJustification is the longest justification, in bytes.
const MaxJustification = 2000

// SignerRest is how long no rule approves what somebody asks for who signed the policy
// in force: the author of a rule is not who profits from it unseen.
const SignerRest = 24 * time.Hour

// Outcome is what policy says to a request. The zero value is no.
type Outcome uint8

// The outcomes.
const (
	Denied        Outcome = iota
	Granted               // at once, by rule
	NeedsApproval         // all Steps, in order
)

// String returns the word that inline tests use.
func (o Outcome) String() string {
	switch o {
	case Granted:
		return "granted"
	case NeedsApproval:
		return "approval"
	default:
		return "denied"
	}
}

// MarshalText writes the word.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Requester is who asks, as proven when asking.
type Requester struct {
	Principal identity.Principal
	Person    identity.Person // zero: what the Set says
	Groups    []identity.Group
	GroupsAt  time.Time // when the source said so; zero: never
	ACR       string    // how the login was proven; "" is not known
	SignedAt  time.Time // when a policy that this person signed entered into force last; zero: never
}

// groups returns the groups that may decide at now, and whether they are known.
// A workload is in none.
func (r Requester) groups(now time.Time) ([]identity.Group, bool) {
	return freshGroups(r.Principal, r.Groups, r.GroupsAt, now)
}

// signedLately reports whether no rule may decide for r at now. A time to come is one:
// it can only be somebody's clock.
func (r Requester) signedLately(now time.Time) bool {
	return now.Before(r.SignedAt.Add(SignerRest)) // never is long ago
}

func freshGroups(p identity.Principal, groups []identity.Group, at, now time.Time) ([]identity.Group, bool) {
	if p.Kind() == identity.KindWorkload {
		return nil, true
	}
	age := now.Sub(at)
	if at.IsZero() || age > MaxGroupAge || age < -time.Minute {
		return nil, false
	}
	return groups, true
}

// Input is everything that a decision depends on besides the Set.
type Input struct {
	Entitlement   string // or bundle
	Params        map[string]string
	Duration      time.Duration // 0: the entitlement's default
	Justification string
	Beneficiary   identity.Principal // who would hold the grant
	Requester     Requester
	Now           time.Time // the transaction's clock
}

// Codes of a denial, stable, and what `because:` of an inline test may say.
const (
	DenyUnknownEntitlement = "unknown_entitlement" // and no bundle of that name either
	DenyNotEligible        = "not_eligible"
	DenyLoginAgain         = "login_again"
	DenyBeneficiary        = "beneficiary"
	DenyParam              = "param"
	DenyDuration           = "duration"
	DenyMaxDuration        = "max_duration"
	DenyJustification      = "justification"
	DenyNobodyApproves     = "nobody_approves"
	DenyExceptionOver      = "exception_over"
)

func denyCodes() []string {
	return []string{
		DenyUnknownEntitlement, DenyNotEligible, DenyLoginAgain, DenyBeneficiary, DenyParam,
		DenyDuration, DenyMaxDuration, DenyJustification, DenyNobodyApproves, DenyExceptionOver,
	}
}

// Reason is one finding of a decision, with the line that it is from.
type Reason struct {
	Code string `json:"code"` // a Deny… code, or who, auto, steps for what let it through
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"` // a sentence for people
}

// Decision is policy's answer, whole: the same Set and Input always make the same.
type Decision struct {
	Outcome   Outcome
	Code      string   // of the first reason to deny; "" unless denied
	Sentence  string   // why, for whoever asked
	Reasons   []Reason // every finding, in the order of the checks
	Steps     []Step   // of NeedsApproval
	Duration  time.Duration
	Expansion Expansion // what would be granted; zero if denied
	Members   []Joint   // of a bundle, what would be granted of each; its Expansion has no app and no scope
	Inputs    Inputs    // what the decision was made from, fit to store and replay
}

// Decide says whether, and after which approvals, a request may become a grant.
// Every check runs, so that Reasons are whole; any that fails denies.
func (s *Set) Decide(in Input) Decision {
	in = in.canonical(s)
	return s.decide(in).out
}

// decide takes a canonical Input.
func (s *Set) decide(in Input) *deciding {
	if b, ok := s.bundles[in.Entitlement]; ok {
		return s.decideBundle(b, in)
	}
	d := &deciding{set: s, in: in, out: Decision{Inputs: s.snapshot(in)}}
	e, ok := s.entitlements[in.Entitlement]
	if !ok {
		d.refuse(s.unknownEntitlement(in.Entitlement))
		return d
	}
	d.e = e
	d.try(CheckWho, d.checkWho)
	d.try(CheckTrustDomain, d.checkTrustDomain)
	d.try(CheckExceptions, d.checkExceptions)
	d.try(CheckBeneficiary, d.checkBeneficiary)
	d.try(CheckParams, func() { d.values = d.checkParams() })
	d.try(CheckDuration, d.checkDuration)
	d.try(CheckJustification, d.checkJustification)
	if d.out.Code == "" {
		d.try(CheckAuto, func() { d.approve(d.values) })
	}
	if d.out.Outcome == Denied {
		d.out.Duration = 0
	} else {
		d.out.Expansion = s.expand(e, d.values)
	}
	return d
}

// deciding is one run of Decide. Its outcome stays Denied until approve.
type deciding struct {
	set     *Set
	e       *Entitlement // nil: there is none of that name, or it is a bundle
	members []*deciding  // of a bundle
	in      Input
	values  map[string]scope.Value // of the parameters, nil if they are wrong
	out     Decision
	tried   []tried
}

// tried is a check that was made, and which of the reasons are its own.
type tried struct {
	check       Check
	first, next int
}

func (d *deciding) try(c Check, run func()) {
	first := len(d.out.Reasons)
	run()
	d.tried = append(d.tried, tried{c, first, len(d.out.Reasons)})
}

func (d *deciding) note(code string, line int, format string, args ...any) {
	d.out.Reasons = append(d.out.Reasons, Reason{Code: code, File: d.e.File, Line: line, Text: fmt.Sprintf(format, args...)})
}

func (d *deciding) deny(code string, line int, format string, args ...any) {
	d.refuse(&Refusal{Code: code, Sentence: fmt.Sprintf(format, args...), File: d.e.File, Line: line})
}

func (d *deciding) refuse(r *Refusal) {
	d.out.Reasons = append(d.out.Reasons, Reason{Code: r.Code, File: r.File, Line: r.Line, Text: r.Sentence})
	if d.out.Code == "" {
		d.out.Code, d.out.Sentence = r.Code, r.Sentence
	}
}

func (d *deciding) checkWho() {
	r := d.in.Requester
	groups, fresh := r.groups(d.in.Now)
	stale := false
	for _, who := range d.e.Who {
		if who.matches(r.Principal, r.Person, groups) {
			d.note("who", d.e.lines.who, "%s may ask for %s", who, d.e.Name)
			return
		}
		stale = stale || who.IsGroup() && !fresh && r.Principal.Kind() == identity.KindUser
	}
	if stale {
		d.deny(DenyLoginAgain, d.e.lines.who, "the groups of %s are not known, or older than %s: log in again", r.Principal, durationText(MaxGroupAge))
		return
	}
	names := make([]string, len(d.e.Who))
	for i, who := range d.e.Who {
		names[i] = who.String()
	}
	d.deny(DenyNotEligible, d.e.lines.who, "%s may not ask for %s, only %s", nameOf(r.Principal), d.e.Name, strings.Join(names, ", "))
}

// checkTrustDomain refuses a workload that could use the grant nowhere, or not
// everywhere where it counts.
func (d *deciding) checkTrustDomain() {
	p := d.in.Requester.Principal
	in := d.set.EnvironmentsOf(d.e)
	switch {
	case !d.set.Knows(p):
		d.deny(DenyNotEligible, d.e.lines.who, "policy lists no trust domain %s: its workloads are nobody", p.TrustDomain())
	case !d.set.takenIn(p, in):
		d.deny(DenyNotEligible, d.e.lines.who, "%s counts in %s, where trust domain %s is not listed", d.e.Name, strings.Join(in, " and "), p.TrustDomain())
	}
}

// checkExceptions refuses an entitlement that an exception excused which is over.
func (d *deciding) checkExceptions() {
	if r := d.set.Lapsed(d.e.Name, d.in.Now); r != nil {
		d.refuse(r)
	}
}

// Bars reports whether a finding of Decide is about who may ask at all: whatever
// else they say, they may not.
func Bars(code string) bool {
	switch code {
	case DenyNotEligible, DenyLoginAgain, DenyBeneficiary, DenyExceptionOver:
		return true
	default:
		return false
	}
}

// isWords reports whether text says anything at all.
func isWords(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

func nameOf(p identity.Principal) string {
	if p.IsZero() {
		return "nobody"
	}
	return p.String()
}

func nameOfPerson(r Requester) string {
	if r.Person.IsZero() {
		return nameOf(r.Principal)
	}
	return r.Person.String()
}

func (d *deciding) checkBeneficiary() {
	if d.in.Beneficiary != d.in.Requester.Principal || d.in.Beneficiary.IsZero() {
		d.deny(DenyBeneficiary, d.e.lines.request, "%s is asked for by and for the same principal only", d.e.Name)
	}
}

func (d *deciding) checkParams() map[string]scope.Value {
	values, refusal := d.e.readParams(d.in.Params)
	if refusal != nil {
		d.refuse(refusal)
	}
	return values
}

func (d *deciding) checkDuration() {
	length := d.in.Duration
	if length == 0 {
		length = d.e.Default
	}
	switch {
	case length < time.Second || length%time.Second != 0:
		d.deny(DenyDuration, d.e.lines.max, "duration %s: want whole seconds, from 1s to %s", length, durationText(d.e.Max))
	case length > d.e.Max:
		d.deny(DenyMaxDuration, d.e.lines.max, "duration %s is over the cap: %s allows at most %s", durationText(length), d.e.Name, durationText(d.e.Max))
	default:
		d.out.Duration = length
	}
}

func (d *deciding) checkJustification() {
	text := strings.TrimSpace(d.in.Justification)
	switch {
	case len(text) > MaxJustification:
		d.deny(DenyJustification, d.e.lines.request, "the justification has %d bytes, want at most %d", len(text), MaxJustification)
	case d.e.Justify && !isWords(text):
		d.deny(DenyJustification, d.e.lines.request, "%s wants a justification in words", d.e.Name)
	}
}

// approve runs after every check has passed.
func (d *deciding) approve(values map[string]scope.Value) {
	barred := d.in.Requester.signedLately(d.in.Now)
	switch {
	case d.byRule(values, barred):
	case len(d.e.Steps) > 0:
		d.bySteps()
	case barred:
		d.deny(DenyNobodyApproves, d.e.lines.auto, "%s is approved by rule only, and no rule decides for whoever signed the policy, until %s", d.e.Name, stamp(d.in.Requester.SignedAt.Add(SignerRest)))
	default:
		d.deny(DenyNobodyApproves, d.e.lines.auto, "%s is approved by rule only, and the rule is not true: %s", d.e.Name, d.e.Auto)
	}
}

// byRule reports whether the rule grants at once.
func (d *deciding) byRule(values map[string]scope.Value, barred bool) bool {
	switch {
	case d.e.Auto == "":
		return false
	case barred:
		d.note("auto", d.e.lines.auto, "not approved by rule: %s signed the policy that entered into force at %s, and no rule decides for whoever signed it within %s",
			nameOfPerson(d.in.Requester), stamp(d.in.Requester.SignedAt), durationText(SignerRest))
		return false
	}
	ok, err := d.e.auto.holds(celValues(d.e, d.in, values, d.out.Duration))
	if !ok || err != nil {
		d.note("auto", d.e.lines.auto, "not approved by rule, which is %s: %s", why(err), d.e.Auto)
		return false
	}
	d.note("auto", d.e.lines.auto, "approved by rule: %s", d.e.Auto)
	d.out.Outcome, d.out.Sentence = Granted, "approved by rule: "+d.e.Auto
	return true
}

func (d *deciding) bySteps() {
	for _, step := range d.e.Steps {
		d.note("steps", d.e.lines.steps, "%s", step.Words())
		d.out.Steps = append(d.out.Steps, step.clone())
	}
	d.out.Outcome, d.out.Sentence = NeedsApproval, "waits for "+d.e.Steps[0].Words()
}

func why(err error) string {
	switch {
	case err == nil:
		return "false"
	case errors.Is(err, errUnknown):
		return "unknown (" + err.Error() + ")"
	default:
		return "an error (" + err.Error() + ")"
	}
}

// Words says what a step waits for, for people.
func (s Step) Words() string {
	plural := "approval"
	if s.Count > 1 {
		plural = "approvals"
	}
	return fmt.Sprintf("%d %s of %s within %s", s.Count, plural, strings.Join(s.Any, ", "), durationText(s.Within))
}

func (s Step) clone() Step {
	s.Any = append([]string{}, s.Any...)
	return s
}

func quote(s string) string { return strconv.Quote(s) }
