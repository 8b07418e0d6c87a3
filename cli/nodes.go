package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "nodes", Short: "List sidecars, and whether they hear the control plane",
		Long: `Lists every registered sidecar and every running process of it: whether its lease
runs, the last revision that it was told of how many there are, and what it or its
Envoy refused. A revision that concerns none of its apps is not told to it: whether it
is behind is in STATE, and not in REVISION.

STATE is fresh while its lease runs, stale once it has run out (it denies everything
until it hears again), absent for a sidecar of which nothing runs, and gone for a
process whose sidecar policy no longer lists. Bundles of foreign trust domains follow, if
there are any: what was fetched last, when, and what is wrong.`,
		Example: "  mayfly nodes", Args: cobra.NoArgs,
		RunE: read(a, func(ctx context.Context, c *api.Client, _ []string) (api.Nodes, error) { return c.Nodes(ctx) }, a.showNodes),
	}
}

func (a *app) showNodes(n api.Nodes) error {
	rows := make([][]string, len(n.Items))
	for i, one := range n.Items {
		name := one.Instance
		if name == "" {
			name = one.Sidecar
		}
		rows[i] = []string{name, one.State, one.Environment, strings.Join(one.Apps, " "), fmt.Sprintf("%d of %d", one.Revision, one.Head),
			orDash(clock(one.LastPong)), one.Envoy, orDash(one.Version)}
	}
	a.table([]string{"INSTANCE", "STATE", "ENVIRONMENT", "APPS", "REVISION", "LAST PONG", "ENVOY", "VERSION"}, rows)
	silent := map[string]bool{} // sidecars; each may have several instances
	for _, one := range n.Items {
		if len(one.Strayed) > 0 {
			fmt.Fprintln(a.c.Stdout, plain(one.Instance+" is in quarantine since "+clock(one.Quarantined)+": "+one.Why))
		} else if one.Quarantined != "" && !silent[one.Sidecar] {
			silent[one.Sidecar] = true
			text := one.Sidecar + " is in quarantine since " + clock(one.Quarantined)
			if one.Why != "" {
				text += ": " + one.Why
			}
			fmt.Fprintln(a.c.Stdout, plain(text))
		}
		if one.Doubt != "" {
			fmt.Fprintln(a.c.Stdout, plain(one.Instance+" "+one.Doubt))
		}
		for _, said := range [][2]string{
			{"refused", one.Nack}, {"its Envoy refused", one.EnvoyNack}, {"has another catalogue than mayflyd, for", strings.Join(one.Differs, " ")},
			{"cannot be reached by people (no certificate, or no address) as", strings.Join(one.Uncovered, " ")},
		} {
			if said[1] != "" {
				fmt.Fprintln(a.c.Stdout, plain(one.Instance+" "+said[0]+": "+said[1]))
			}
		}
	}
	if len(n.Bundles) > 0 {
		fmt.Fprintln(a.c.Stdout)
		rows := make([][]string, len(n.Bundles))
		for i, b := range n.Bundles {
			rows[i] = []string{b.TrustDomain, b.Holder, strconv.Itoa(b.Authorities), orDash(clock(b.Fetched)), orDash(b.Problem)}
		}
		a.table([]string{"TRUST DOMAIN", "BUNDLE AT", "AUTHORITIES", "FETCHED", "PROBLEM"}, rows)
	}
	for _, m := range n.Missing {
		fmt.Fprintln(a.c.Stdout, plain(m))
	}
	a.showObserved(n.Observed)
	return nil
}

func (a *app) quarantineCommand() *cobra.Command {
	return a.nodeVerdict(&cobra.Command{
		Use: "quarantine SIDECAR", Short: "Tell a gateway nothing more, so that it denies everything",
		Long: `Tells a gateway nothing more (for the security group, and under an entitlement on
the app mayfly). Within the stale_after of each of its apps it denies everything. It
still ships its record. mayfly release takes it back.`,
		Example: "  mayfly quarantine spiffe://acme.example/gw/sidecar --reason 'its machine is lost'",
	}, (*api.Client).Quarantine, "is told nothing more; it denies everything once its lease has run out: mayfly nodes")
}

func (a *app) releaseCommand() *cobra.Command {
	return a.nodeVerdict(&cobra.Command{
		Use: "release SIDECAR", Short: "Take a gateway out of quarantine",
		Example: "  mayfly release spiffe://acme.example/gw/sidecar --reason 'its machine was found'",
	}, (*api.Client).Release, "is told again what is granted")
}

func (a *app) nodeVerdict(cmd *cobra.Command, act func(*api.Client, context.Context, api.NodeVerdict) error, done string) *cobra.Command {
	var reason string
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		client, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		if err := act(client, cmd.Context(), api.NodeVerdict{Sidecar: args[0], Reason: reason}); err != nil {
			return err
		}
		if a.isJSON() {
			return a.json(map[string]string{"sidecar": args[0]})
		}
		fmt.Fprintln(a.c.Stdout, plain(args[0]+" "+done))
		return nil
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words")
	return cmd
}
