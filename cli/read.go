package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

// read makes the function of a command that asks the server one thing and shows it.
func read[T any](a *app, get func(context.Context, *api.Client, []string) (T, error), show func(T) error) func(*cobra.Command, []string) error {
	return a.run(func(cmd *cobra.Command, args []string) error {
		client, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		v, err := get(cmd.Context(), client, args)
		if err != nil {
			return err
		}
		if a.isJSON() {
			return a.json(v)
		}
		return show(v)
	})
}

func (a *app) traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "trace ID", Short: "Show everything on record about any id",
		Long: `Shows the chain that an id belongs to, from the request to what was done under its
grant, in order of time, each with its place on the record. Any id will do: a
request, an offer, an approval, a grant, an action, a denial.`,
		Example: `  mayfly trace grt_01JZZZZZZZZZZZZZZZZZZZZZZZ
  mayfly trace act_01JZZZZZZZZZZZZZZZZZZZZZZZ -o json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		client, err := a.connect(ctx)
		if err != nil {
			return err
		}
		t, err := client.Trace(ctx, args[0])
		if err != nil {
			return err
		}
		if err := a.showTrace(t); err != nil {
			return err
		}
		key, err := a.recordKey()
		if err != nil {
			return err
		}
		return a.see(ctx, client, key)
	})
	return cmd
}

// recordKey returns the key of the record that the session's server told at
// login; a workload has none.
func (a *app) recordKey() (string, error) {
	if a.asWorkload() {
		return "", nil
	}
	server, err := a.address()
	if err != nil {
		return "", err
	}
	s, err := a.loadSession(server)
	return s.RecordKey, err
}

func (a *app) showTrace(t api.Trace) error {
	if a.isJSON() {
		return a.json(t)
	}
	a.pairs([2]string{"request", t.Request}, [2]string{"grant", grantsText(t)}, [2]string{"trace id", t.TraceIDs[t.Request]})
	rows := make([][]string, len(t.Entries))
	for i, e := range t.Entries {
		text := e.Text
		if id := e.Detail["action"]; id != "" {
			text += " " + id
		}
		if id := e.Detail["trace"]; id != "" {
			text += " trace " + id
		}
		rows[i] = []string{e.Time, e.Type, e.Place, orDash(e.Who), text}
	}
	a.table([]string{"TIME", "TYPE", "PLACE", "WHO", "WHAT"}, rows)
	if t.Missing != "" {
		a.note("%s", t.Missing)
	}
	return nil
}

func grantsText(t api.Trace) string {
	if len(t.Grants) > 0 {
		return strings.Join(t.Grants, " ")
	}
	return t.Grant
}

func (a *app) entitlementsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "entitlements", Short: "List what can be asked for",
		Example: "  mayfly entitlements\n  mayfly entitlements -o json", Args: cobra.NoArgs,
		RunE: read(a, func(ctx context.Context, c *api.Client, _ []string) ([]api.Entitlement, error) {
			p, err := c.Entitlements(ctx)
			return p.Items, err
		}, a.showEntitlements),
	}
}

func (a *app) showEntitlements(list []api.Entitlement) error {
	rows := make([][]string, len(list))
	for i, e := range list {
		may := "no"
		if e.MayAsk {
			may = "yes"
		}
		params := make([]string, 0, len(e.Params))
		for _, name := range slices.Sorted(maps.Keys(e.Params)) {
			params = append(params, name+" ("+e.Params[name]+")")
		}
		rows[i] = []string{e.Name, may, e.Class, e.Default + ", at most " + e.Max, orDash(strings.Join(params, "; ")), strings.Join(e.Operations, " "), e.Owner}
		if len(e.Entitlements) > 0 {
			rows[i][5] = "as one: " + strings.Join(e.Entitlements, " ")
		}
	}
	a.table([]string{"ENTITLEMENT", "YOURS", "CLASS", "FOR", "PARAMETERS", "OPERATIONS", "OWNER"}, rows)
	return nil
}
