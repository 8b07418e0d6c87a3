package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/policy"
)

// comparing is what policy diff was called with.
type comparing struct {
	repository, folder string
	failWidens         bool
}

func (a *app) policyDiffCommand() *cobra.Command {
	var in comparing
	cmd := &cobra.Command{
		Use: "diff A B", Short: "What a policy changes against another: who gains and loses what",
		Long: `Compares two policies. Each is a folder, or a commit of a repository: a name such as
main, a tag, or a commit's hash, long or short. The repository is read as it lies there;
nothing is fetched.

Signs: + somebody may do more, or with less; - less, or with more; ~ neither, or nobody
can tell. Whatever is not proven only to narrow counts as a gain: a commit with one
waits before it enters into force.

Exit codes: 0 compared, 1 one of them is not a policy; with --fail-widens also 1 when
somebody gains.`,
		Example: `  mayfly policy diff main ./policy --folder policy
  mayfly policy diff HEAD~1 HEAD --repo ./access --folder policy
  mayfly policy diff origin/main HEAD --fail-widens`,
		Args: cobra.ExactArgs(2),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.diffPolicy(cmd.Context(), in, args[0], args[1])
		}),
	}
	f := cmd.Flags()
	f.StringVar(&in.repository, "repo", ".", "repository that commits are read from")
	f.StringVar(&in.folder, "folder", "", "policy folder in the repository; its root unless said")
	f.BoolVar(&in.failWidens, "fail-widens", false, "exit with 1 when somebody gains by B")
	return cmd
}

func (a *app) diffPolicy(ctx context.Context, in comparing, one, other string) error {
	before, err := a.policyOf(ctx, in, one)
	if err != nil {
		return err
	}
	after, err := a.policyOf(ctx, in, other)
	if err != nil {
		return err
	}
	diff := diffOf(policy.Look(before, after))
	if a.isJSON() {
		err = a.json(diff)
	} else {
		a.showDiff(diff)
		a.showWidens(diff)
	}
	if err == nil && in.failWidens && diff.Widens {
		return exit{exitError}
	}
	return err
}

// policyOf loads what lies in a folder or in a commit.
func (a *app) policyOf(ctx context.Context, in comparing, name string) (*policy.Set, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return a.sound(name)
	}
	if a.c.PolicyAt == nil {
		return nil, fmt.Errorf("%s is no folder, and this mayfly reads no repositories", name)
	}
	files, commit, err := a.c.PolicyAt(ctx, in.repository, strings.Trim(in.folder, "/"), name)
	if err != nil {
		return nil, hinted{fmt.Errorf("%s is no folder, and no commit: %w", name, err), "mayfly policy diff main ./policy --folder policy"}
	}
	if below := policyBelow(files); below != "" && in.folder == "" {
		return nil, hinted{fmt.Errorf("commit %s has no policy at its root, and one in %s", shortCommit(commit), below), "--folder " + below}
	}
	options, err := a.c.Policy()
	if err != nil {
		return nil, err
	}
	options.Commit = commit
	set, err := policy.Load(files, options)
	return a.orMistakes(name, set, err)
}

// policyBelow names the folder of files in which a policy lies, if none lies at their root
// and one folder has it; "" otherwise.
func policyBelow(files map[string][]byte) string {
	const main = "mayfly.yaml"
	below := ""
	for name := range files {
		switch dir, file := path.Split(name); {
		case name == main:
			return ""
		case file != main:
		case below != "":
			return ""
		default:
			below = strings.TrimSuffix(dir, "/")
		}
	}
	return below
}

// sound loads a folder, and ends the command where it is no policy.
func (a *app) sound(dir string) (*policy.Set, error) {
	set, err := a.loadPolicy(dir)
	return a.orMistakes(dir, set, err)
}

func (a *app) orMistakes(name string, set *policy.Set, err error) (*policy.Set, error) {
	wrong, err := mistakesOf(err)
	switch {
	case err != nil:
		return nil, err
	case len(wrong) == 0:
		return set, nil
	case a.isJSON():
		return nil, a.tellJSON(struct {
			OK       bool            `json:"ok"`
			Mistakes []policyMistake `json:"mistakes"`
		}{false, wrong}, false)
	default:
		return nil, a.tellMistakes(name, wrong)
	}
}

// diffOf writes an outlook down as the API does.
func diffOf(o policy.Outlook) api.PolicyDiff {
	out := api.PolicyDiff{
		First: o.First, Widens: o.Widens(), Changes: []api.PolicyChange{}, Reach: []api.PolicyReach{},
		Overlaps: []api.PolicyOverlap{}, Unreached: []api.PolicyUnreached{},
	}
	for _, c := range o.Changes {
		out.Changes = append(out.Changes, api.PolicyChange(c))
	}
	for _, r := range o.Reach {
		out.Reach = append(out.Reach, api.PolicyReach(r))
	}
	for _, p := range o.Overlaps {
		out.Overlaps = append(out.Overlaps, api.PolicyOverlap(p))
	}
	for _, u := range o.Unreached {
		out.Unreached = append(out.Unreached, api.PolicyUnreached(u))
	}
	return out
}

func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf(format, args...)))
}

// showDiff prints what changes: by what it is about, then by whom.
func (a *app) showDiff(d api.PolicyDiff) {
	if len(d.Changes) == 0 {
		a.say("Nothing changes.")
		return
	}
	last := ""
	for _, c := range d.Changes {
		if c.What != last {
			a.say("%s", c.What)
			last = c.What
		}
		place := c.File
		if c.Line > 0 {
			place = fmt.Sprintf("%s:%d", c.File, c.Line)
		}
		a.say("  %s %s%s", sign(c.Effect), c.Text, inBrackets(place))
	}
	if len(d.Reach) > 0 {
		a.say("who")
	}
	for _, r := range d.Reach {
		a.say("  %s%s", r.Who, inBrackets(strings.Join(r.Known, ", ")))
		for _, o := range byApp(r.Gains) {
			a.say("    + %s", o)
		}
		for _, o := range byApp(r.Loses) {
			a.say("    - %s", o)
		}
	}
	if len(d.Overlaps) > 0 {
		a.say("overlaps: either may be asked for, by its own rule")
	}
	for _, o := range d.Overlaps {
		a.say("  %s and %s: %s %s, by %s", o.One, o.Other, o.App, shortList(o.Operations), shortList(o.Who))
		for _, s := range o.Stricter {
			a.say("    stricter in %s", s)
		}
	}
	if len(d.Unreached) > 0 {
		a.say("operations without a rule")
	}
	for _, u := range d.Unreached {
		a.say("  %s: %s", u.App, firstOf(5, u.Operations))
	}
}

func (a *app) showWidens(d api.PolicyDiff) {
	switch {
	case d.First || len(d.Changes) == 0:
	case d.Widens:
		a.say("Somebody could gain something on apps that are there: such a commit waits before it enters into force.")
	default:
		a.say("Nobody gains anything on apps that are there: such a commit enters into force at once.")
	}
}

func sign(effect string) string {
	switch effect {
	case policy.Gains:
		return "+"
	case policy.Loses:
		return "-"
	default:
		return "~"
	}
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return "  (" + s + ")"
}

// shortList names ten, and how many more there are.
func shortList(names []string) string { return firstOf(10, names) }

func firstOf(most int, names []string) string {
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:most], " ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// byApp joins "app operation" texts, sorted, to one line an app.
func byApp(list []string) []string {
	var out []string
	of := map[string][]string{}
	for _, text := range list {
		app, operation, _ := strings.Cut(text, " ")
		if of[app] == nil {
			out = append(out, app)
		}
		of[app] = append(of[app], operation)
	}
	for i, app := range out {
		out[i] = app + " " + shortList(of[app])
	}
	return out
}

// texts makes the files fit for the API, which takes text.
func texts(files map[string][]byte) (map[string]string, error) {
	out, total := make(map[string]string, len(files)), 0
	for name, body := range files {
		out[name] = string(body)
		total += len(body)
	}
	if total > maxPolicyTotal {
		return nil, errors.New("the policy is over 16 MiB")
	}
	return out, nil
}

const maxPolicyTotal = 16 << 20 // bytes
