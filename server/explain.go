package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

func (s *Server) explain(w http.ResponseWriter, r *http.Request, c caller) error {
	x, err := s.service.Explain(r.Context(), c.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, explanationOf(x))
}

func explanationOf(x access.Explanation) api.Explanation {
	out := api.Explanation{
		ID: x.ID, Entitlement: x.Entitlement, Owner: x.Owner, App: x.App, AppOwner: x.AppOwner, Decisions: []api.Decision{}, Help: x.Help,
	}
	if g := x.Grant; g != nil {
		out.Grant, out.GrantState, out.State = g.ID.String(), string(g.State), string(g.State)
	}
	if r := x.Request; r != nil {
		out.Request, out.State, out.Code, out.Sentence = r.ID.String(), string(r.State), r.Code, r.Sentence
		for _, d := range x.Decisions {
			out.Decisions = append(out.Decisions, decisionOf(x, d))
		}
	}
	for _, ch := range x.Remedies {
		out.Remedies = append(out.Remedies, remedyOf(ch))
	}
	if t := x.Try; t != nil {
		out.State, out.Code, out.Sentence = "allowed", string(t.Code), ""
		switch {
		case t.Observed:
			out.State, out.Sentence = "observed", observedSentence(t)
		case t.Denial != "":
			out.State, out.Sentence = "denied", t.Code.Info().Title
		}
		tried := triedOf(t)
		out.Tried = &tried
	}
	out.Next = nextOf(x)
	return out
}

// observedSentence says that nothing was decided, and what would have been.
func observedSentence(t *access.ExplainedTry) string {
	out := "OBSERVED, not enforced: it passed undecided, the app was in observe mode"
	if !t.Until.IsZero() {
		out += " until " + stamp(t.Until)
	}
	switch {
	case t.Code != "":
		return out + "; it would have been denied: " + t.Code.Info().Title
	case t.Grant != "":
		return out + "; it would have been allowed, under " + t.Grant
	default:
		return out
	}
}

// nextOf are the commands that lead on.
func nextOf(x access.Explanation) []string {
	switch {
	case x.Try != nil && x.Try.Denial != "":
		for _, a := range x.Try.Asks {
			if !a.Tried || a.Outcome != policy.Denied {
				return []string{"mayfly request --from-denial " + x.Try.Denial}
			}
		}
		return []string{"mayfly entitlements"}
	case x.Request != nil && x.Request.State == access.Denied:
		return []string{"mayfly entitlements"}
	case x.Request != nil && x.Request.State == access.Approved, x.Grant != nil, x.Try != nil:
		return []string{"mayfly trace " + x.ID}
	default:
		return nil
	}
}

func decisionOf(x access.Explanation, d access.ExplainedDecision) api.Decision {
	one := api.Decision{
		When: d.When, Outcome: d.Outcome, Code: d.Code, Sentence: d.Sentence, Rules: []api.Rule{},
		Policy: api.Policy{Commit: d.Inputs.Commit, Digest: d.Inputs.Policy, Engine: d.Inputs.Engine},
		Inputs: string(d.Inputs.Canonical()), Facts: factsOf(d.Inputs), Replay: d.Replay, Cause: d.Cause, Where: d.Where, Detail: d.Detail,
	}
	if d.Leaf >= 0 {
		one.Leaf = strconv.FormatInt(d.Leaf, 10)
	}
	for _, reason := range d.Reasons {
		line, _ := strconv.Atoi(reason.Line) // of our own writing; 0 is none
		one.Rules = append(one.Rules, api.Rule{Code: reason.Code, Text: reason.Text, File: reason.File, Line: line})
	}
	for _, step := range d.Steps {
		s := api.DecisionStep{Words: policy.Step(step.Step).Words()}
		for _, a := range step.Said {
			s.Said = append(s.Said, api.Approval{
				ID: a.ID.String(), Step: a.Step + 1, Approver: whoIn(x, a.Approver, a.Person), Approves: a.Approves, Reason: a.Reason, At: stamp(a.At),
			})
		}
		one.Steps = append(one.Steps, s)
	}
	if d.Trail == nil {
		return one
	}
	one.Checks, one.Condition = checksOf(*d.Trail), conditionOf(d.Trail.Condition)
	for _, m := range d.Trail.Members {
		one.Members = append(one.Members, api.Member{
			Entitlement: m.Entitlement, Owner: m.Owner, App: m.App, Outcome: m.Decision.Outcome.String(), Code: m.Decision.Code,
			Checks: append([]api.Check{}, checksOf(m)...), Condition: conditionOf(m.Condition),
		})
	}
	return one
}

func checksOf(trail policy.Trail) []api.Check {
	var out []api.Check
	for _, t := range trail.Trials {
		out = append(out, api.Check{
			Name: string(t.Check), Verdict: string(t.Verdict), Code: t.Code, Texts: t.Texts, File: t.File, Line: t.Line, Owner: trail.Owner,
		})
	}
	return out
}

func conditionOf(c *policy.Condition) *api.Condition {
	if c == nil {
		return nil
	}
	out := &api.Condition{Text: c.Text, Value: c.Value, Variables: []api.Fact{}, Because: append([]string{}, c.Because...)}
	for _, v := range c.Variables {
		out.Variables = append(out.Variables, api.Fact{Name: v.Name, Value: v.Value})
	}
	return out
}

func whoIn(x access.Explanation, p identity.Principal, person identity.Person) api.Who {
	return api.Who{Principal: p.String(), Person: personText(person), Name: x.Request.Shown[p]}
}

// factsOf writes inputs for people. What is not known here stands at the end, as it is
// stored.
func factsOf(in policy.Inputs) []api.Fact {
	var all map[string]any
	if err := json.Unmarshal(in.Canonical(), &all); err != nil {
		return nil
	}
	add := []api.Fact{{Name: "at", Value: in.Now}, {Name: "who", Value: in.Principal}}
	if in.Person != "" && in.Person != in.Principal {
		add = append(add, api.Fact{Name: "person", Value: in.Person})
	}
	if in.Beneficiary != in.Principal {
		add = append(add, api.Fact{Name: "for", Value: in.Beneficiary})
	}
	if strings.HasPrefix(in.Principal, "user:") {
		groups := api.Fact{Name: "groups", Value: orNone(strings.Join(in.Groups, " "))}
		at, err1 := time.Parse(time.RFC3339Nano, in.GroupsAt)
		now, err2 := time.Parse(time.RFC3339Nano, in.Now)
		if err1 == nil && err2 == nil {
			groups.Age = now.Sub(at).String()
		}
		add = append(add, groups, api.Fact{Name: "acr", Value: orNone(in.ACR)})
	}
	var params []string
	for _, name := range slices.Sorted(maps.Keys(in.Params)) {
		params = append(params, name+"="+in.Params[name])
	}
	duration := in.Duration
	if duration == "0s" {
		duration = "the default"
	}
	add = append(add, api.Fact{Name: "params", Value: orNone(strings.Join(params, " "))}, api.Fact{Name: "duration", Value: duration}, api.Fact{Name: "justified", Value: in.Justified})
	for _, name := range []string{"policy", "commit", "engine", "catalogue", "entitlement", "params", "duration", "justified", "beneficiary", "principal", "person", "groups", "groups_at", "acr", "now"} {
		delete(all, name)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		add = append(add, api.Fact{Name: name, Value: fmt.Sprint(all[name])})
	}
	return add
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func remedyOf(c policy.Remedy) api.Remedy {
	out := api.Remedy{Outcome: c.Outcome.String(), Edits: []api.Edit{}}
	for _, e := range c.Edits {
		out.Edits = append(out.Edits, api.Edit{Kind: e.Kind, Name: e.Name, From: e.From, To: e.To, Text: e.Text})
	}
	return out
}

func triedOf(t *access.ExplainedTry) api.Tried {
	out := api.Tried{
		Place: placeText(t.Place), Node: t.Record.Node, Time: audit.Stamp(t.Record.Time), Action: t.Action, Operation: t.Operation,
		Resource: t.Resource, Class: t.Class, Revision: fmt.Sprintf("%d/%d", t.Epoch, t.Revision),
		Heard: (time.Duration(t.FreshnessMS) * time.Millisecond).String(), Advice: t.Advice,
	}
	for _, a := range t.Attributes {
		out.Attributes = append(out.Attributes, api.Attribute{Name: a.Name, Value: a.Value, Hidden: a.Hidden})
	}
	for _, n := range t.Near {
		out.Near = append(out.Near, api.Near{
			Grant: n.Grant.String(), Entitlement: n.Entitlement, From: stamp(n.From), To: stamp(n.To), Code: string(n.Reason), Sentence: n.Sentence,
			Attribute: n.Attribute, Granted: n.Granted, Value: n.Value, Hidden: n.Hidden,
		})
	}
	for _, a := range t.Asks {
		one := api.Covering{Ask: api.Ask{Entitlement: a.Entitlement, Params: a.Params, Denial: t.Denial}, Missing: a.Missing, Owner: a.Owner, Why: a.Why}
		if a.Tried {
			one.Outcome = a.Outcome.String()
		}
		out.Asks = append(out.Asks, one)
	}
	return out
}
