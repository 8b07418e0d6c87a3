package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain ID", Short: "Say why something is as it is, and what would have made a difference",
		Long: `Explains a request, a grant, or what a gateway allowed or denied: every check of
policy in order, with what it looked at, where policy says it and who owns that; who
approved; and the smallest change that would have been answered better. Each such
change was decided by the policy that decided then.

With --rederive it says of each decision only whether the stored policy, by the stored
engine, still makes it of the stored inputs, and what is another one if not. It exits
with 1 if a decision is not the same.`,
		Example: `  mayfly explain req_01JZZZZZZZZZZZZZZZZZZZZZZZ
  mayfly explain den_01JZZZZZZZZZZZZZZZZZZZZZZZ
  mayfly explain grt_01JZZZZZZZZZZZZZZZZZZZZZZZ --rederive`,
		Args: cobra.ExactArgs(1),
	}
	rederive := cmd.Flags().Bool("rederive", false, "make its decisions again, and say whether they are the same")
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		client, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		e, err := getExplanation(cmd.Context(), client, args[0])
		if err != nil {
			return err
		}
		switch {
		case *rederive:
			return a.showRederived(e)
		case a.isJSON():
			return a.json(e)
		default:
			a.showExplanation(e)
			return nil
		}
	})
	return cmd
}

func getExplanation(ctx context.Context, c *api.Client, id string) (api.Explanation, error) {
	if !strings.Contains(id, "_") {
		return api.Explanation{}, usage{fmt.Sprintf("%q is not an id (req_…, grt_…, den_…, act_…)", id), "mayfly requests"}
	}
	return c.Explain(ctx, id)
}

// rederived is what --rederive says of one decision.
type rederived struct {
	When   string     `json:"when"`
	Replay string     `json:"replay"`
	Cause  string     `json:"cause,omitempty"`
	Where  string     `json:"where,omitempty"`
	Detail string     `json:"detail,omitempty"`
	Leaf   string     `json:"leaf,omitempty"`
	Policy api.Policy `json:"policy"`
}

func (a *app) showRederived(e api.Explanation) error {
	other := 0
	list := []rederived{}
	for _, d := range e.Decisions {
		list = append(list, rederived{When: d.When, Replay: d.Replay, Cause: d.Cause, Where: d.Where, Detail: d.Detail, Leaf: d.Leaf, Policy: d.Policy})
		if d.Replay != "same" {
			other++
		}
	}
	if a.isJSON() {
		if err := a.json(list); err != nil {
			return err
		}
	} else {
		if len(list) == 0 {
			a.note("no decision of policy belongs to %s", e.ID)
		}
		for _, d := range list {
			leaf := d.Leaf
			if leaf == "" {
				leaf = "none"
			}
			a.pairs([2]string{"at " + d.When, strings.TrimSpace(d.Replay + " " + d.Cause)}, [2]string{"what", d.Detail}, [2]string{"leaf", leaf},
				[2]string{"policy", strings.TrimSpace(d.Policy.Commit + " " + d.Policy.Digest)}, [2]string{"engine", d.Policy.Engine})
		}
	}
	if other > 0 {
		return fmt.Errorf("%s of %d not the same", count(other, "decision"), len(list))
	}
	return nil
}

func (a *app) line(indent int, format string, args ...any) {
	fmt.Fprintln(a.c.Stdout, strings.Repeat("  ", indent)+plain(fmt.Sprintf(format, args...)))
}

// showExplanation writes what a tired person needs first: what it is, why, and what to
// do. What it was made from follows.
func (a *app) showExplanation(e api.Explanation) {
	state := e.State
	if e.Code != "" {
		state += " (" + e.Code + ")"
	}
	sentence := e.Sentence
	if e.State == "approved" {
		sentence = approvedBy(e)
	}
	pairs := [][2]string{{"id", e.ID}, {"state", state}, {"why", sentence}}
	if e.Request != e.ID {
		pairs = append(pairs, [2]string{"request", e.Request})
	}
	if e.Grant != "" {
		pairs = append(pairs, [2]string{"grant", e.Grant + " (" + e.GrantState + ")"})
	}
	pairs = append(pairs, [2]string{"entitlement", ownedBy(e.Entitlement, e.Owner)}, [2]string{"app", ownedBy(e.App, e.AppOwner)})
	a.pairs(pairs...)
	if e.Tried != nil {
		a.showTried(e)
	}
	a.showRemedies(e.Remedies)
	if len(e.Help) > 0 {
		a.heading("Who can help")
		for _, h := range e.Help {
			a.line(1, "%s", h)
		}
	}
	for _, d := range e.Decisions {
		a.showDecision(d)
	}
	for _, next := range e.Next {
		a.hint(next)
	}
}

// approvedBy says whose word it was: persons, or a rule, which is somebody's too.
func approvedBy(e api.Explanation) string {
	var names []string
	for _, d := range e.Decisions {
		for _, s := range d.Steps {
			for _, said := range s.Said {
				if said.Approves {
					names = append(names, shownAs(said.Approver))
				}
			}
		}
	}
	if len(names) > 0 {
		return "approved by " + strings.Join(names, " and ")
	}
	for _, d := range e.Decisions {
		for _, c := range d.Checks {
			if c.Name == "auto" && c.Verdict == "passed" {
				return "approved by the rule of entitlement " + ownedBy(e.Entitlement, e.Owner) + place(c.File, c.Line)
			}
		}
	}
	return e.Sentence
}

func shownAs(w api.Who) string {
	if w.Name != "" {
		return w.Name
	}
	return w.Principal
}

func ownedBy(what, owner string) string {
	if what == "" || owner == "" {
		return what
	}
	return what + ", owned by " + owner
}

func (a *app) heading(format string, args ...any) {
	fmt.Fprintln(a.c.Stdout)
	a.line(0, format, args...)
}

func (a *app) showRemedies(remedies []api.Remedy) {
	if len(remedies) == 0 {
		return
	}
	a.heading("What would have made a difference")
	for _, c := range remedies {
		texts := make([]string, len(c.Edits))
		for i, e := range c.Edits {
			texts[i] = e.Text
		}
		what := "granted at once"
		if c.Outcome == "approval" {
			what = "put before approvers"
		}
		a.line(1, "with %s: %s", strings.Join(texts, ", and "), what)
	}
}

// showChecks lists the checks of a decision, and what its condition came to.
func (a *app) showChecks(indent int, checks []api.Check, c *api.Condition) {
	for _, c := range checks {
		text := strings.Join(c.Texts, "; ")
		a.line(indent, "%-10s %-13s %s%s", c.Verdict, c.Name, text, place(c.File, c.Line))
	}
	if c == nil {
		return
	}
	a.line(indent, "the condition was %s:", c.Value)
	for _, b := range c.Because {
		a.line(indent+1, "%s", b)
	}
	for _, v := range c.Variables {
		a.line(indent+1, "where %s = %s", v.Name, v.Value)
	}
}

func (a *app) showDecision(d api.Decision) {
	outcome := map[string]string{"approval": "needs approval"}[d.Outcome]
	if outcome == "" {
		outcome = d.Outcome
	}
	if d.Code != "" {
		outcome += " (" + d.Code + ")"
	}
	a.heading("At %s: %s", d.When, outcome)
	if len(d.Checks) == 0 { // as it was stored
		for _, r := range d.Rules {
			a.line(1, "%s: %s%s", r.Code, r.Text, place(r.File, r.Line))
		}
	}
	a.showChecks(1, d.Checks, d.Condition)
	for _, m := range d.Members {
		outcome := m.Outcome
		if m.Code != "" {
			outcome += " (" + m.Code + ")"
		}
		a.line(1, "%s on %s, owned by %s: %s", m.Entitlement, m.App, m.Owner, outcome)
		a.showChecks(2, m.Checks, m.Condition)
	}
	for i, s := range d.Steps {
		a.line(1, "step %d: %s", i+1, s.Words)
		for _, said := range s.Said {
			verb := "denied"
			if said.Approves {
				verb = "approved"
			}
			a.line(2, "%s by %s (%s) at %s%s", verb, shownAs(said.Approver), said.Approver.Person, clock(said.At), quoted(said.Reason))
		}
	}
	var facts []string
	for _, f := range d.Facts {
		text := f.Name + " " + f.Value
		if f.Age != "" {
			text += " (told " + f.Age + " before)"
		}
		facts = append(facts, text)
	}
	a.line(1, "inputs: %s", strings.Join(facts, ", "))
	a.line(1, "policy: commit %s, digest %s, %s", orDash(d.Policy.Commit), d.Policy.Digest, d.Policy.Engine)
	again := d.Replay
	if d.Cause != "" {
		again += " (" + d.Cause + "): " + d.Detail
	}
	a.line(1, "made again: %s; its hash is in leaf %s", again, orDash(d.Leaf))
}

func place(file string, line int) string {
	if file == "" {
		return ""
	}
	return "  [" + file + ":" + strconv.Itoa(line) + "]"
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return ": " + strconv.Quote(s)
}

func (a *app) showTried(e api.Explanation) {
	t := e.Tried
	attributes := make([]string, len(t.Attributes))
	for i, one := range t.Attributes {
		attributes[i] = one.Name + "=" + one.Value
		if one.Hidden {
			attributes[i] = one.Name + " (on record by HMAC only)"
		}
	}
	a.heading("What was tried")
	a.pairs([2]string{"  at", clock(t.Time) + " on " + t.Node}, [2]string{"  operation", strings.TrimSpace(t.Operation + " " + t.Resource)},
		[2]string{"  with", strings.Join(attributes, ", ")}, [2]string{"  revision", t.Revision + ", heard " + t.Heard + " before"},
		[2]string{"  record", t.Place + ", " + t.Action}, [2]string{"  advice", t.Advice})
	if e.State == "denied" || e.State == "observed" && e.Code != "" {
		a.showNear(t)
	}
	if len(t.Asks) > 0 {
		a.heading("What could be asked for")
	}
	for _, c := range t.Asks {
		line := "mayfly request " + c.Ask.Entitlement
		for _, name := range slices.Sorted(maps.Keys(c.Ask.Params)) {
			line += " --param " + name + "=" + c.Ask.Params[name]
		}
		for _, m := range c.Missing {
			line += " --param " + m + "=…"
		}
		switch c.Outcome {
		case "granted":
			line += ": granted at once"
		case "approval":
			line += ": put before approvers"
		case "denied":
			line += ": denied: " + c.Why
		}
		a.line(1, "%s (owned by %s)", line, orDash(c.Owner))
	}
}

func (a *app) showNear(t *api.Tried) {
	a.heading("What was held about then")
	if len(t.Near) == 0 {
		a.line(1, "no grant on the app")
	}
	for _, n := range t.Near {
		a.line(1, "%s of %s, %s to %s: %s", n.Grant, n.Entitlement, clock(n.From), clock(n.To), n.Sentence)
	}
}
