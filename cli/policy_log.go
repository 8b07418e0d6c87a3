package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) policyLogCommand() *cobra.Command {
	return &cobra.Command{
		Use: "log ENTITLEMENT", Short: "Who changed which line of an entitlement when, who signed, and what it decided",
		Long: `Shows how the file of an entitlement came to be what it is, newest first: when each text
of it entered into force, by which commit, who signed that, and how many requests were made
under it, with the newest. A text that came back, by a revert or a hold, stands once for each
time. Then the file as it is, each line with the commit that it is from.

It is read from the policies that were in force, which the server keeps: what the
repository forgot since is here.

It is for the security group, and for whoever has access to policy.plan of the app mayfly.`,
		Example: "  mayfly policy log stripe/refunds\n  mayfly policy log stripe/refunds -o json", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.logPolicy(cmd.Context(), args[0]) }),
	}
}

func (a *app) logPolicy(ctx context.Context, entitlement string) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	l, err := client.LogPolicy(ctx, entitlement)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(l)
	}
	for i := len(l.Versions) - 1; i >= 0; i-- {
		a.showVersion(l.Versions[i])
	}
	a.say("%s", l.Path)
	for i, line := range l.Lines {
		v := l.Versions[line.Version]
		a.say("%s %s %-12s %4d  %s", shortCommit(v.Commit), dayOf(v.At), orUnsigned(v.Signers), i+1, line.Text)
	}
	return nil
}

func (a *app) showVersion(v api.PolicyVersion) {
	what := fmt.Sprintf("+%d -%d lines", v.Added, v.Removed)
	if !v.There {
		what = "removed"
	}
	switch v.How {
	case "held":
		what += "  held"
	case "released":
		what += "  a hold ended"
	}
	a.say("%s  %s  signed by %s  %s", clock(v.At), orDash(v.Commit), orUnsigned(v.Signers), what)
	if v.Requests > 0 {
		a.say("    decided %s%s", count(v.Requests, "request"), inBrackets("newest: "+strings.Join(v.Newest, " ")))
	}
}

func shortCommit(commit string) string { return fmt.Sprintf("%-10.10s", orDash(commit)) }

func dayOf(stamp string) string { return stamp[:min(len("2006-01-02"), len(stamp))] }

func orUnsigned(persons []string) string {
	if len(persons) == 0 {
		return "nobody"
	}
	return strings.Join(persons, ", ")
}
