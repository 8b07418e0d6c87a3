package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) workloadsCommand() *cobra.Command {
	var q api.WorkloadsQuery
	cmd := &cobra.Command{
		Use: "workloads", Short: "List every workload that was seen, whose it is, and what it called last",
		Long: `Lists the workloads that called at a gateway, denied or not, or that called mayflyd
(for the security group): whose each is by policy, when it was first and last seen,
its newest call at a gateway and what became of it, and how many live grants it holds.
Those without an owner are unknown to policy: see workloads: in mayfly.yaml.`,
		Example: `  mayfly workloads
  mayfly workloads --unknown
  mayfly workloads -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return a.workloads(cmd.Context(), q) }),
	}
	cmd.Flags().BoolVar(&q.Unknown, "unknown", false, "only those that policy gives no owner")
	return cmd
}

func (a *app) workloads(ctx context.Context, q api.WorkloadsQuery) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	all, err := pages(func(cursor string) (api.Page[api.Workload], error) {
		q.Cursor = cursor
		return client.Workloads(ctx, q)
	})
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(all)
	}
	if len(all) == 0 {
		a.note("there are none")
		return nil
	}
	var rows [][]string
	for _, w := range all {
		if w.Workload == "" {
			fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("certificates that proved nobody were refused %d times, the last time at %s", w.Denied, clock(w.Last))))
			continue
		}
		owner := w.Owner
		switch {
		case !w.Listed:
			owner = "unknown trust domain"
		case owner == "":
			owner = "unknown"
		}
		rows = append(rows, []string{
			w.Workload, owner, orDash(w.Environment), clock(w.First), clock(w.Last), orDash(strings.TrimSpace(w.App + " " + w.Operation)), orDash(became(w)), strconv.Itoa(w.Grants),
		})
	}
	a.table([]string{"WORKLOAD", "OWNER", "ENVIRONMENT", "FIRST SEEN", "LAST SEEN", "LAST CALL", "RESULT", "GRANTS"}, rows)
	return nil
}

// became says what became of a workload's newest call at a gateway.
func became(w api.Workload) string {
	switch {
	case w.Called == "":
		return ""
	case w.Code != "":
		return w.Code
	default:
		return "allowed"
	}
}
