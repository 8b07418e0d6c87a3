package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) lockCommand() *cobra.Command {
	return a.lockVerdict(&cobra.Command{
		Use: "lock WHO", Short: "End all that somebody holds, and keep them out",
		Long: `Ends every session and grant of a person or a workload and denies what they asked
for; until mayfly unlock nothing is granted to them, they open no session and decide
nothing. A person is locked by every account. For the security group, and under an
entitlement on the app mayfly. It is done at once, to yourself too, and nobody
unlocks themselves.`,
		Example: "  mayfly lock alice --reason 'laptop stolen'\n  mayfly lock spiffe://acme.example/ns/pay/sa/refunder",
	}, (*api.Client).Lock, func(l api.Lock) {
		fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("%s is locked. Ended: %s, %s. Denied: %s.", l.Target, count(l.Sessions, "session"), count(l.Grants, "grant"), count(l.Requests, "request"))))
		fmt.Fprintln(a.c.Stdout, plain("  "+strings.Join(l.Accounts, " ")))
		if l.Sessions+l.Grants+l.Requests == 0 {
			a.note("nothing of theirs was there to end: if you expected some, look whether the name is right")
		}
		a.hint("mayfly unlock " + l.Target + " takes it off: somebody else's to do, under a grant")
	})
}

func (a *app) unlockCommand() *cobra.Command {
	return a.lockVerdict(&cobra.Command{
		Use: "unlock WHO", Short: "Let somebody in again",
		Long: `Takes a lock off, under an entitlement on the app mayfly. What the lock ended stays
ended. Nobody unlocks themselves, by any account.`,
		Example: "  mayfly unlock alice",
	}, (*api.Client).Unlock, func(l api.Lock) {
		fmt.Fprintln(a.c.Stdout, plain(l.Target+" may come in and ask again"))
	})
}

func (a *app) lockVerdict(cmd *cobra.Command, act func(*api.Client, context.Context, api.LockVerdict) (api.Lock, error), show func(api.Lock)) *cobra.Command {
	var reason string
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		client, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		l, err := act(client, cmd.Context(), api.LockVerdict{Target: args[0], Reason: reason})
		if err != nil {
			return err
		}
		if a.isJSON() {
			return a.json(l)
		}
		show(l)
		return nil
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words that are kept")
	return cmd
}

func (a *app) locksCommand() *cobra.Command {
	return &cobra.Command{
		Use: "locks", Short: "List who is locked", Example: "  mayfly locks", Args: cobra.NoArgs,
		RunE: read(a, func(ctx context.Context, c *api.Client, _ []string) ([]api.Lock, error) {
			p, err := c.Locks(ctx)
			return p.Items, err
		}, func(list []api.Lock) error {
			if len(list) == 0 {
				a.note("there are none")
				return nil
			}
			rows := make([][]string, len(list))
			for i, l := range list {
				rows[i] = []string{l.Target, clock(l.At), orDash(l.By), orDash(l.Reason), strings.Join(l.Accounts, " ")}
			}
			a.table([]string{"WHO", "SINCE", "BY", "WHY", "ACCOUNTS"}, rows)
			return nil
		}),
	}
}
