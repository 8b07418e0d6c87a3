package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) policyStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "How policy stands: what is in force, what waits, what is refused, and holds",
		Long: `Says which commit is in force and who signed it; which commits wait because somebody
gains by them, until when, and what is gained; whether the tip of the branch is
refused, and why; whether policy is held; which exceptions are over; and when the repository was read last.`,
		Example: "  mayfly policy status\n  mayfly policy status -o json", Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			v, err := client.PolicyStatus(cmd.Context())
			if err != nil {
				return err
			}
			if a.isJSON() {
				return a.json(v)
			}
			a.showPolicyStatus(v)
			return nil
		}),
	}
}

func (a *app) showPolicyStatus(v api.PolicyStatus) {
	say := func(name, format string, args ...any) {
		fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("%-11s %s", name, fmt.Sprintf(format, args...))))
	}
	if v.Commit == "" {
		say("in force", "nothing yet: the first signed commit makes it")
	} else {
		say("in force", "%s since %s, signed by %s%s", v.Commit, clock(v.Since), orNobody(v.Signers), map[string]string{"held": ", held", "released": ", back after a hold"}[v.How])
		say("digest", "%s", v.Digest)
	}
	if v.Dev {
		say("development", "unsigned commits enter into force, and none waits")
	} else if v.Commit != "" {
		say("next", "needs %s, and waits %s if somebody gains by it", count(v.Signatures, "signature"), brief(v.Settle))
	}
	for _, c := range v.Settling {
		say("waits", "%s until %s, signed by %s", c.Commit, clock(c.Due), orNobody(c.Signers))
		for _, g := range c.Gains {
			say("", "  %s", g)
		}
	}
	if h := v.Hold; h != nil {
		say("held", "at %s until %s, by %s and %s", h.Commit, clock(h.Until), h.Proposed, h.Confirmed)
	}
	if h := v.Proposed; h != nil {
		say("to be held", "at %s for %s, wants %s; another person confirms by %s", h.Commit, brief(h.For), h.Proposed, clock(h.Until))
	}
	if no := v.Refused; no != nil {
		say("refused", "%s since %s (%s): %s", no.Commit, clock(no.At), no.Reason, no.Words)
	}
	for _, x := range v.Over {
		say("over", "exception %s of %s since %s: what it excused for %s is denied", x.Exception, x.Owner, clock(x.Until), x.For)
	}
	switch {
	case v.Unreadable != "":
		say("repository", "CANNOT BE READ since %s: what is in force is as old as that", clock(v.Unreadable))
	case v.ReadAt != "":
		say("repository", "read at %s, its tip is %s", clock(v.ReadAt), orDash(v.Tip))
	}
}

// brief leaves the zeros of one of the API's durations out.
func brief(d string) string {
	for _, zero := range []string{"m0s", "h0m"} {
		if short, ok := strings.CutSuffix(d, zero); ok {
			d = short + zero[:1]
		}
	}
	return d
}

// orNobody lists persons.
func orNobody(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, " and ")
}

func (a *app) policyHoldCommand() *cobra.Command {
	length := time.Hour
	cmd := &cobra.Command{
		Use: "hold COMMIT", Short: "Keep policy at a commit for a time, together with a second person",
		Long: `Goes back to a commit that was in force, or stays at the one that is, for a time. It
takes two: what one person asks for another asks for too, with the same commit and
time, within 15 minutes. Both need an entitlement to policy.hold on the app mayfly.

While it lasts, commits by which nobody gains still enter into force; others wait. It
ends by itself, and what was in force before is then again.`,
		Example: "  mayfly policy hold 3f9c2e1 --for 1h", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error { return a.holdPolicy(cmd.Context(), args[0], length) }),
	}
	cmd.Flags().Var(span{&length}, "for", "how long, from 1m to 24h; left out: 1h")
	return cmd
}

func (a *app) holdPolicy(ctx context.Context, commit string, length time.Duration) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	h, err := client.HoldPolicy(ctx, api.HoldVerdict{Commit: commit, For: length.String()})
	if err != nil {
		return err
	}
	switch {
	case a.isJSON():
		if err := a.json(h); err != nil {
			return err
		}
	case h.Confirmed == "":
		fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("policy is not held yet: another person must ask for the same by %s", clock(h.Until))))
		a.hint(fmt.Sprintf("mayfly policy hold %s --for %s", h.Commit, brief(h.For)))
	default:
		fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("policy is held at %s until %s. Ended: %s.", h.Commit, clock(h.Until), count(h.GrantsEnd, "grant"))))
	}
	if h.Confirmed == "" {
		return exit{exitPending}
	}
	return nil
}
