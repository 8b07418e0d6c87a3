package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// testProvider is the identity provider of the accounts that inline tests name
// by address: no real provider can be called by a name with two hyphens.
const testProvider = "inline--test"

// readTests reads the tests of e, which may be the terms of a bundle.
func (l *loader) readTests(e *Entitlement, n *node) []Test {
	if n == nil {
		return nil
	}
	var out []Test
	for _, item := range l.list(n, "tests") {
		f := l.object(item, schema{what: "test", known: []string{"as", "groups", "ask", "expect", "because"}, later: []string{"acr", "at", "for", "risk", "score"}})
		if f == nil {
			continue
		}
		t := Test{As: l.text(f.need("as"), "as"), Line: item.line}
		if _, err := l.set.actor(t.As); t.As != "" && err != nil && !l.persons[t.As] {
			l.fail(f.opt("as"), CodeValue, "as: %v", err)
		}
		t.Groups = l.texts(f.opt("groups"), "groups")
		for _, g := range t.Groups {
			if _, err := identity.ParseGroup("group:" + g); err != nil {
				l.fail(f.opt("groups"), CodeValue, "groups: %q, want <source>/<name>", g)
			}
		}
		switch l.word(f.need("expect"), "expect", []string{"granted", "denied", "approval"}, nil) {
		case "granted":
			t.Expect = Granted
		case "approval":
			t.Expect = NeedsApproval
		}
		if at := f.opt("because"); at != nil {
			t.Because = l.word(at, "because", denyCodes(), nil)
			if t.Expect != Denied {
				l.fail(at, CodeValue, "because: only a denial has a code")
			}
		}
		l.readTestAsk(e, &t, f.opt("ask"))
		out = append(out, t)
	}
	return out
}

func (l *loader) readTestAsk(e *Entitlement, t *Test, n *node) {
	t.Params = map[string]string{}
	if n == nil {
		return
	}
	if n.shape != shapeMap {
		l.fail(n, CodeValue, "ask: want duration, justification and parameters, found %s", n.shape)
		return
	}
	for i, k := range n.keys {
		v := n.items[i]
		switch {
		case k.text == "duration":
			t.Duration = l.duration(v, "duration")
		case v.shape != shapeScalar:
			l.fail(v, CodeValue, "ask: %s: want a value, found %s", k.text, v.shape)
		case k.text == "justification":
			t.Reason = &v.text
		default:
			if _, ok := e.Param(k.text); !ok && t.Because != DenyParam {
				l.fail(k, CodeUnknownName, "ask: no parameter %q under params:%s", k.text, didYouMean(k.text, e.paramNames()))
			}
			t.Params[k.text] = v.text
		}
	}
}

// actor returns the account that an inline test acts as.
func (s *Set) actor(as string) (identity.Principal, error) {
	switch {
	case strings.Contains(as, ":"):
		return identity.ParsePrincipal(as)
	case strings.Contains(as, "@"):
		return identity.User(testProvider, as)
	case len(s.accounts[as]) > 0:
		return s.accounts[as][0], nil
	default:
		return identity.Principal{}, fmt.Errorf("%q: want spiffe://…, user:<idp>:<subject>, an address, or the name of a person", as)
	}
}

// TestResult is the outcome of one inline test.
type TestResult struct {
	Entitlement string // or bundle
	File        string
	Line        int
	As          string
	Want, Got   string // outcome, and the code of a denial
	Passed      bool
	Message     string // why it came out so
}

// RunTests runs every inline test of a set: those of entitlements and bundles, by name
// and line.
func RunTests(s *Set) []TestResult {
	var out []TestResult
	for _, name := range s.names() {
		terms, _ := s.Terms(name)
		for _, t := range terms.Tests {
			out = append(out, s.runTest(terms, t))
		}
	}
	return out
}

// runTest runs a test of what e are the terms of.
func (s *Set) runTest(e *Entitlement, t Test) TestResult {
	out := TestResult{Entitlement: e.Name, File: e.File, Line: t.Line, As: t.As, Want: outcomeText(t.Expect, t.Because)}
	who, err := s.actor(t.As)
	if err != nil {
		out.Message = err.Error()
		return out
	}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	in := Input{
		Entitlement: e.Name, Params: t.Params, Duration: t.Duration, Justification: "an inline test",
		Beneficiary: who, Requester: Requester{Principal: who, GroupsAt: now}, Now: now,
	}
	if t.Reason != nil {
		in.Justification = *t.Reason
	}
	for _, g := range t.Groups {
		group, err := identity.ParseGroup("group:" + g)
		if err != nil {
			out.Message = err.Error()
			return out
		}
		in.Requester.Groups = append(in.Requester.Groups, group)
	}
	d := s.Decide(in)
	out.Got, out.Message = outcomeText(d.Outcome, d.Code), d.Sentence
	out.Passed = d.Outcome == t.Expect && (t.Because == "" || slices.ContainsFunc(d.Reasons, func(r Reason) bool { return r.Code == t.Because }))
	return out
}

func outcomeText(o Outcome, code string) string {
	if code == "" {
		return o.String()
	}
	return o.String() + " (" + code + ")"
}
