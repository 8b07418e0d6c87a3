package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) grantsCommand() *cobra.Command {
	var q api.GrantsQuery
	cmd := &cobra.Command{
		Use: "grants", Short: "List access that is in force",
		Long: `List your own live grants, newest first; with --all those that have ended too, and
with --everyone everybody's (for the security group).`,
		Example: `  mayfly grants
  mayfly grants --everyone --app stripe
  mayfly grants --all -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return a.grants(cmd.Context(), q) }),
	}
	f := cmd.Flags()
	f.BoolVar(&q.All, "all", false, "those that have ended too")
	f.BoolVar(&q.Everyone, "everyone", false, "everybody's")
	f.StringVar(&q.App, "app", "", "of one app")
	f.StringVar(&q.Entitlement, "entitlement", "", "of one entitlement")
	return cmd
}

func (a *app) grants(ctx context.Context, q api.GrantsQuery) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	all, err := pages(func(cursor string) (api.Page[api.Grant], error) {
		q.Cursor = cursor
		return client.Grants(ctx, q)
	})
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(all)
	}
	if len(all) == 0 {
		a.note("there are none")
		a.hint("mayfly entitlements")
		return nil
	}
	rows := make([][]string, len(all))
	for i, g := range all {
		state := g.State
		if g.EndedBy != "" && g.EndedBy != g.State {
			state += " (" + g.EndedBy + ")"
		}
		rows[i] = []string{g.ID, state, g.Entitlement, g.Class, whoText(g.Holder), clock(g.NotAfter), a.left(endOf(g))}
	}
	a.table([]string{"GRANT", "STATE", "ENTITLEMENT", "CLASS", "HOLDER", "ENDS", "LEFT"}, rows)
	return nil
}

func endOf(g api.Grant) string {
	if g.EndedAt != "" {
		return g.EndedAt
	}
	return g.NotAfter
}

func (a *app) showGrant(ctx context.Context, client *api.Client, id string) error {
	g, err := client.ShowGrant(ctx, id)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(g)
	}
	until := clock(g.NotAfter) // what ended early has no time left
	if g.EndedAt == "" {
		until = clockLeft(a, g.NotAfter)
	}
	a.pairs([2]string{"grant", g.ID}, [2]string{"state", g.State}, [2]string{"holder", whoText(g.Holder)}, [2]string{"entitlement", g.Entitlement + " on " + g.App},
		[2]string{"class", g.Class}, [2]string{"from", clock(g.NotBefore)}, [2]string{"until", until},
		[2]string{"ended", strings.TrimSpace(clock(g.EndedAt) + " " + g.EndedBy)}, [2]string{"unused", unusedText(g)}, [2]string{"request", g.Request}, [2]string{"bundle", bundleText(g)})
	fmt.Fprintln(a.c.Stdout, "may do")
	for _, op := range g.Operations {
		fmt.Fprintln(a.c.Stdout, " ", plain(op))
	}
	return nil
}

// bundleText says what a grant of a bundle ends with.
func bundleText(g api.Grant) string {
	if len(g.With) == 0 {
		return ""
	}
	return "it ends with " + strings.Join(g.With, ", ")
}

// unusedText says when a live grant ends for want of use.
func unusedText(g api.Grant) string {
	if g.IdleAfter == "" || g.EndedAt != "" {
		return ""
	}
	return "ends after " + g.IdleAfter + " without use; last used " + orDash(clock(g.LastUsedAt))
}

func (a *app) revokeCommand() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use: "revoke GRANT", Short: "End somebody's access now",
		Long: `Ends a grant for everybody's calls that come next (for the security group, and under
an entitlement on the app mayfly; your own you end with mayfly done). Of a bundle all
grants end with it. With --wait a line is printed for each running
sidecar as it acknowledges, or as its lease runs out so that it denies by itself;
then nothing can pass under the grant any more.`,
		Example: `  mayfly grants --everyone
  mayfly revoke grt_01JZZZZZZZZZZZZZZZZZZZZZZZ --reason "laptop lost" --wait`,
		Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.end(cmd.Context(), args[0], wait, func(c *api.Client) (api.Receipts, error) {
				return c.Revoke(cmd.Context(), args[0], api.Because{Reason: reason})
			})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words that are kept")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until no running sidecar can let anything pass under it")
	return cmd
}

func (a *app) doneCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "done GRANT", Short: "Give your access back before its end",
		Example: "  mayfly done grt_01JZZZZZZZZZZZZZZZZZZZZZZZ", Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.end(cmd.Context(), args[0], wait, func(c *api.Client) (api.Receipts, error) {
				return c.Finish(cmd.Context(), args[0])
			})
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until no running sidecar can let anything pass under it")
	return cmd
}

func (a *app) end(ctx context.Context, id string, wait bool, f func(*api.Client) (api.Receipts, error)) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	r, err := f(client)
	if err != nil {
		return err
	}
	if !a.isJSON() {
		fmt.Fprintf(a.c.Stdout, "%s has ended, at revision %d of the feed\n", plain(r.Grant), r.Revision)
		for _, other := range r.With {
			fmt.Fprintf(a.c.Stdout, "%s has ended with it: they are one bundle\n", plain(other))
		}
	}
	if wait {
		if r, err = a.untilAllHeard(ctx, client, r); err != nil {
			return err
		}
	}
	if a.isJSON() {
		return a.json(r)
	}
	if !wait && !r.Complete {
		a.note("not heard of it yet: %s", count(len(r.Waits), "running sidecar"))
		a.hint("mayfly trace " + id + " shows who has heard of it")
	}
	return nil
}

// untilAllHeard waits for the word about a grant, and about those of its bundle.
func (a *app) untilAllHeard(ctx context.Context, client *api.Client, r api.Receipts) (api.Receipts, error) {
	with := r.With
	r, err := a.untilHeard(ctx, client, r)
	for _, id := range with {
		if err != nil {
			break
		}
		var other api.Receipts
		if other, err = client.Receipts(ctx, id); err == nil {
			other, err = a.untilHeard(ctx, client, other)
		}
		r.Complete = r.Complete && other.Complete
	}
	return r, err
}

// untilHeard prints a line for each instance as it acknowledges, or is closed:
// its lease has run out, so that it denies by itself.
func (a *app) untilHeard(ctx context.Context, client *api.Client, r api.Receipts) (api.Receipts, error) {
	told := map[string]bool{}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		a.tellReceipts(r, told)
		if r.Complete {
			return r, nil
		}
		select {
		case <-ctx.Done():
			for _, w := range r.Waits {
				if !told[w.Instance] {
					a.note("not heard from: %s, closed at %s at the latest", w.Instance, clock(w.Until))
				}
			}
			return r, errInterrupted
		case <-tick.C:
		}
		next, err := client.Receipts(ctx, r.Grant)
		if err != nil && ctx.Err() != nil {
			continue
		}
		if err != nil {
			return r, err
		}
		r = next
	}
}

func (a *app) tellReceipts(r api.Receipts, told map[string]bool) {
	for _, w := range r.Waits {
		if w.State == "waiting" || told[w.Instance] {
			continue
		}
		told[w.Instance] = true
		if a.isJSON() {
			continue
		}
		fmt.Fprintln(a.c.Stdout, plain(receiptText(w)))
	}
}

func receiptText(w api.Receipt) string {
	if w.State == "closed" {
		return fmt.Sprintf("closed  %s  did not answer; its lease ran out by %s", w.Instance, w.Until)
	}
	out := fmt.Sprintf("acked   %s  at %s", w.Instance, w.AckedAt)
	if w.LastAllowed != "" {
		out += ", last allowed at " + w.LastAllowed
	}
	if w.StreamsCut > 0 {
		out += ", " + count(w.StreamsCut, "stream") + " cut"
	}
	if w.BoundedAt != "" {
		out += ", requests under way end by " + w.BoundedAt
	}
	return out
}
