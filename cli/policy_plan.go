package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) policyPlanCommand() *cobra.Command {
	var failWaits bool
	cmd := &cobra.Command{
		Use: "plan DIR", Short: "What a policy would do if it were in force now",
		Long: `Asks the server what the policy in a folder would do if it took the place of the one in
force: who gains and loses what, which live grants would end, which requests that wait
would be decided otherwise, and whether such a commit would have to wait before it
enters into force; and what is doubtful about it, as mayfly policy check does. Nothing is done, and that it was asked is on the record.

It is for the security group, and for whoever has access to policy.plan of the app mayfly.

Exit codes: 0 planned, 1 error; with --fail-waits also 1 when the commit would have to
wait.`,
		Example: "  mayfly policy plan ./policy\n  mayfly policy plan ./policy -o json", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.planPolicy(cmd.Context(), args[0], failWaits) }),
	}
	cmd.Flags().BoolVar(&failWaits, "fail-waits", false, "exit with 1 when the commit would have to wait")
	return cmd
}

// policyTexts reads a folder, and checks it before anybody is asked.
func (a *app) policyTexts(dir string) (map[string]string, error) {
	if _, err := a.sound(dir); err != nil {
		return nil, err
	}
	files, err := readFolder(dir)
	if err != nil {
		return nil, err
	}
	return texts(files)
}

func (a *app) planPolicy(ctx context.Context, dir string, failWaits bool) error {
	files, err := a.policyTexts(dir)
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	p, err := client.PlanPolicy(ctx, files)
	if err != nil {
		return err
	}
	if a.isJSON() {
		err = a.json(p)
	} else {
		a.showPlan(p)
	}
	if err == nil && failWaits && p.Waits {
		return exit{exitError}
	}
	return err
}

func (a *app) showPlan(p api.PolicyPlan) {
	for _, w := range p.Warnings {
		a.say("warning: %s:%d:%d: %s", w.File, w.Line, w.Column, w.Message)
	}
	a.showDiff(p.Diff)
	if len(p.Ends) > 0 {
		a.say("live grants that would end")
	}
	for _, e := range p.Ends {
		a.say("  - %s of %s: %s, until %s", e.Grant, e.Principal, e.Entitlement, clock(e.NotAfter))
	}
	if len(p.Pending) > 0 {
		a.say("requests under way that would be decided otherwise")
	}
	for _, f := range p.Pending {
		a.say("  %s %s", flipSign(f), flipWords(f))
	}
	switch {
	case len(p.Diff.Changes) == 0:
	case p.Waits && p.Dev:
		a.say("It would wait before it enters into force, though not at this mayflyd, which runs with --dev: %s.", p.Why)
	case p.Waits:
		a.say("It would wait before it enters into force: %s.", p.Why)
	default:
		a.say("It would enter into force at once: %s.", p.Why)
	}
}

// flipSign is + where somebody gets more, - where less.
func flipSign(f api.PolicyFlip) string {
	rank := map[string]int{"denied": 0, "approval": 1, "granted": 2}
	switch was, now := rank[f.Was], rank[f.Now]; {
	case now > was:
		return "+"
	case now < was:
		return "-"
	default:
		return "~"
	}
}

func flipWords(f api.PolicyFlip) string {
	change := f.Was + " → " + f.Now
	if f.Was == f.Now {
		change = f.Now
	}
	return fmt.Sprintf("%s of %s, %s: %s: %s", f.Request, f.Requester, f.Entitlement, change, f.Text)
}

func (a *app) policyReplayCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "replay DIR", Short: "Which past requests and actions a policy would have decided otherwise",
		Long: `Has the server decide past requests again by the policy in a folder, each from its stored
inputs: with the groups and the login of then. It lists those that come out otherwise,
newest first, and what was done under their grants that would have been denied, as the
record has it.

What it cannot tell it says: requests whose inputs are erased; those that another
version of Mayfly decided, where a difference may be the version's; and actions of which
the record keeps values only by their HMAC.

It is for the security group, and for whoever has access to policy.plan of the app mayfly.`,
		Example: "  mayfly policy replay --since 30d ./policy\n  mayfly policy replay --since 12h ./policy -o json", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.replayPolicy(cmd.Context(), args[0], since) }),
	}
	cmd.Flags().StringVar(&since, "since", "30d", "how far back, such as 12h or 30d, or a time such as 2026-01-31T12:00:00Z")
	return cmd
}

// sinceOf reads how far back: a length, which may be in days, or a time.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, errors.New("want 12h, 30d or a time such as 2026-01-31T12:00:00Z")
	}
	return now.Add(-d), nil
}

func (a *app) replayPolicy(ctx context.Context, dir, since string) error {
	from, err := sinceOf(since, a.c.Now())
	if err != nil {
		return usage{"--since: " + err.Error(), "mayfly policy replay --since 30d ./policy"}
	}
	files, err := a.policyTexts(dir)
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	out := struct {
		Flips []api.PolicyFlip    `json:"flips"`
		Sum   api.PolicyReplaySum `json:"sum"`
	}{Flips: []api.PolicyFlip{}}
	bar := &bar{a: a}
	err = client.ReplayPolicy(ctx, api.PolicyFiles{Files: files, Since: from.UTC().Format(stampLayout)}, func(line api.PolicyReplay) error {
		switch {
		case line.Sum != nil:
			out.Sum = *line.Sum
		case line.Flip != nil && a.isJSON():
			out.Flips = append(out.Flips, *line.Flip)
		case line.Flip != nil:
			bar.clear()
			a.showFlip(*line.Flip)
		default:
			bar.draw(line.Done)
		}
		return nil
	})
	bar.clear()
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(out)
	}
	a.showSum(out.Sum)
	return nil
}

func (a *app) showFlip(f api.PolicyFlip) {
	a.say("%s %s  %s", flipSign(f), clock(f.At), flipWords(f))
	if f.Actions == 0 {
		return
	}
	line := fmt.Sprintf("    under %s: %s, %d would have been denied", f.Grant, count(f.Actions, "action"), f.Refused)
	if f.Unsure > 0 {
		line += fmt.Sprintf(", of %d nobody can tell", f.Unsure)
	}
	a.say("%s%s", line, inBrackets(shortList(f.Operations)))
}

func (a *app) showSum(s api.PolicyReplaySum) {
	a.say("%s since %s decided again: %d would come out otherwise, %s would have been denied.",
		count(s.Requests, "request"), clock(s.Since), s.Flips, count(s.Refused, "action"))
	if s.Unsure > 0 {
		a.say("Of %s the record does not hold enough to tell.", count(s.Unsure, "more action"))
	}
	if s.Lost > 0 {
		a.say("Of %s the inputs are erased or cannot be read: nobody can tell.", count(s.Lost, "more request"))
	}
	if s.Engines > 0 {
		a.say("%s another version of Mayfly decided: a difference there may be the version's.", count(s.Engines, "request"))
	}
}

// bar shows how far something is, to a person who looks.
type bar struct {
	a     *app
	drawn bool
}

const barWidth = 40

func (b *bar) draw(percent int) {
	if !b.a.c.Live() {
		return
	}
	b.drawn = true
	full := barWidth * min(max(percent, 0), 100) / 100
	fmt.Fprintf(b.a.c.Stderr, "\r\x1b[K[%s%s] %d %%", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), percent)
}

func (b *bar) clear() {
	if b.drawn {
		fmt.Fprint(b.a.c.Stderr, "\r\x1b[K")
		b.drawn = false
	}
}
