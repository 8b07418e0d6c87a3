package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Check is one of the checks that Decide makes. The words are stable.
type Check string

// The checks, in the order in which they are made.
const (
	CheckWho           Check = "who"
	CheckTrustDomain   Check = "trust_domain"
	CheckExceptions    Check = "exceptions"
	CheckBeneficiary   Check = "beneficiary"
	CheckParams        Check = "params"
	CheckDuration      Check = "duration"
	CheckJustification Check = "justification"
	CheckAuto          Check = "auto"
	CheckSteps         Check = "steps"
)

// Verdict is what came of a check.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Waits   Verdict = "waits"     // for people
	Skipped Verdict = "not asked" // one before it settled the matter
)

// Trial is a check as it came out.
type Trial struct {
	Check   Check
	Verdict Verdict
	Code    string // of a failed one
	Texts   []string
	File    string
	Line    int
}

// Trail is a decision with everything that was looked at on the way to it.
type Trail struct {
	Decision    Decision
	Entitlement string // or bundle
	Owner       string // of it
	App         string
	AppOwner    string
	Trials      []Trial    // in order, every one; none where there is no such entitlement
	Members     []Trail    // of a bundle: of each of its entitlements, in order
	Condition   *Condition // of an automatic approval; nil: there is none, or it was not asked
}

// Trail decides as Decide does, and tells how. It is for explaining: nothing is
// granted by it.
func (s *Set) Trail(in Input) Trail {
	in = in.canonical(s)
	out := s.decide(in).trail()
	if b, ok := s.bundles[in.Entitlement]; ok {
		out.Owner = b.Owner
	}
	return out
}

// trail tells how d came about; of a bundle, how each of its members did.
func (d *deciding) trail() Trail {
	out := Trail{Decision: d.out, Entitlement: d.in.Entitlement}
	for _, m := range d.members {
		out.Members = append(out.Members, m.trail())
	}
	if d.e == nil {
		out.Trials = d.together()
		return out
	}
	out.Owner, out.App, out.AppOwner = d.e.Owner, d.e.App, d.set.apps[d.e.App].Owner
	for _, t := range d.tried {
		if t.check != CheckAuto {
			out.Trials = append(out.Trials, d.trial(t))
		}
	}
	out.Trials = append(out.Trials, d.approvals()...)
	if d.e.Auto != "" && slices.ContainsFunc(d.tried, func(t tried) bool { return t.check == CheckAuto }) {
		c := d.e.auto.explain(d.e, celValues(d.e, d.in, d.values, d.length()))
		out.Condition = &c
	}
	return out
}

// together are the trials of a bundle that are not those of one of its entitlements:
// nothing where there is no bundle.
func (d *deciding) together() []Trial {
	b, ok := d.set.bundles[d.in.Entitlement]
	if !ok {
		return nil
	}
	params := Trial{Check: CheckParams, Verdict: Passed, Texts: []string{"each parameter belongs to one of " + strings.Join(b.Entitlements, ", ")}, File: b.File, Line: b.Line}
	if r := d.set.paramOfNobody(b, d.in.Params); r != nil {
		params.Verdict, params.Code, params.Texts = Failed, r.Code, []string{r.Sentence}
	}
	out := []Trial{params}
	if d.out.Outcome == NeedsApproval {
		steps := Trial{Check: CheckSteps, Verdict: Waits, File: b.File, Line: b.Line}
		for _, s := range d.out.Steps {
			steps.Texts = append(steps.Texts, s.Words())
		}
		out = append(out, steps)
	}
	return out
}

// length is the duration that was decided about.
func (d *deciding) length() time.Duration {
	if d.in.Duration != 0 {
		return d.in.Duration
	}
	return d.e.Default
}

// trial says what came of one of the checks before approvals.
func (d *deciding) trial(t tried) Trial {
	out := Trial{Check: t.check, Verdict: Passed, File: d.e.File, Line: d.line(t.check)}
	for _, r := range d.out.Reasons[t.first:t.next] {
		out.Texts = append(out.Texts, r.Text)
		if r.File != "" {
			out.File, out.Line = r.File, r.Line
		}
		if slices.Contains(denyCodes(), r.Code) {
			out.Verdict, out.Code = Failed, r.Code
		}
	}
	if len(out.Texts) == 0 {
		out.Texts = []string{d.passed(t.check)}
	}
	return out
}

func (d *deciding) line(c Check) int {
	at := map[Check]int{
		CheckWho: d.e.lines.who, CheckTrustDomain: d.e.lines.who, CheckBeneficiary: d.e.lines.request, CheckParams: d.e.lines.params,
		CheckDuration: d.e.lines.max, CheckJustification: d.e.lines.request, CheckAuto: d.e.lines.auto, CheckSteps: d.e.lines.steps,
	}
	if n := at[c]; n != 0 {
		return n
	}
	return d.e.Line
}

// passed says what was found where a check has nothing to say by itself.
func (d *deciding) passed(c Check) string {
	switch c {
	case CheckTrustDomain:
		if td := d.in.Requester.Principal.TrustDomain(); td != "" {
			return "trust domain " + td + " counts here"
		}
		return "a person is of no trust domain"
	case CheckExceptions:
		return "no exception that excuses it is over"
	case CheckBeneficiary:
		return "asked for by and for the same principal"
	case CheckParams:
		return d.paramWords()
	case CheckDuration:
		return fmt.Sprintf("duration %s, at most %s", durationText(d.length()), durationText(d.e.Max))
	case CheckJustification:
		if d.e.Justify {
			return "a justification was given"
		}
		return "no justification is asked for"
	default:
		return ""
	}
}

func (d *deciding) paramWords() string {
	if len(d.e.Params) == 0 {
		return "there are no parameters"
	}
	var out []string
	for _, p := range d.e.Params {
		if v, ok := d.values[p.Name]; ok {
			out = append(out, p.Name+"="+v.String())
		} else {
			out = append(out, p.Name+" left out, any")
		}
	}
	return strings.Join(out, ", ")
}

// approvals are the trials of the rule and of the steps.
func (d *deciding) approvals() []Trial {
	auto := Trial{Check: CheckAuto, Verdict: Skipped, File: d.e.File, Line: d.line(CheckAuto), Texts: []string{"a check before it failed"}}
	steps := auto
	steps.Check, steps.Line = CheckSteps, d.line(CheckSteps)
	if d.out.Code != "" && d.out.Code != DenyNobodyApproves {
		return []Trial{auto, steps}
	}
	auto.Texts, steps.Texts = nil, nil
	for _, r := range d.out.Reasons {
		switch r.Code {
		case "auto":
			auto.Texts, auto.Verdict = append(auto.Texts, r.Text), Failed
		case "steps":
			steps.Texts, steps.Verdict = append(steps.Texts, r.Text), Waits
		case DenyNobodyApproves:
			steps.Texts, steps.Verdict, steps.Code = append(steps.Texts, r.Text), Failed, r.Code
		}
	}
	if d.out.Outcome == Granted {
		auto.Verdict, steps.Texts = Passed, []string{"the rule approved"}
	}
	if len(auto.Texts) == 0 {
		auto.Texts = []string{"there is no rule that approves"}
	}
	return []Trial{auto, steps}
}

// Owners returns who owns an entitlement or bundle and its app, and where it stands;
// empty if there is none of that name. A bundle is on no one app.
func (s *Set) Owners(name string) (owner, app, appOwner, file string, line int) {
	e, ok := s.Terms(name)
	if !ok {
		return "", "", "", "", 0
	}
	return e.Owner, e.App, s.apps[e.App].Owner, e.File, e.Line
}
